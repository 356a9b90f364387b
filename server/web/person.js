// One person: a token, a link through one of the doors, the room they are in. Knows no DOM.
import { claims, developmentToken, rest } from "./api.js";
import { Room } from "./room.js";
import { LINKS } from "./transports.js";

export class Person extends EventTarget {
  /** `frame(who, direction, label, text)` sees everything that goes over the network. */
  constructor(token, frame, transport) {
    super();
    this.token = token;
    this.frame = frame;
    this.transport = transport;
    const { sub, name } = claims(token);
    this.sub = sub;
    this.name = name ?? sub;
    this.room = null;
    this.link = null;
    this.status = "offline";
    this.left = 0; // when the connection was lost
  }

  rest(method, path, options = {}) {
    const tap = (direction, label, text) => this.frame(this.sub, direction, label, text);
    return rest(method, path, { token: this.token, tap, ...options });
  }

  call(name, payload) {
    return this.link.call(name, payload);
  }

  async enter(sessionId) {
    if (this.room?.sessionId === sessionId) return;
    const old = this.room?.sessionId;
    this.room = new Room(sessionId, this.sub);
    this._tell("room");
    if (old && this.link) await this.link.leave(old);
    this._connect();
  }

  async leave() {
    const old = this.room?.sessionId;
    this.room = null;
    if (old && this.link) await this.link.leave(old);
    this._tell("room");
  }

  /** Another door to the same room: it goes on from the last revision seen. */
  through(transport) {
    this.transport = transport;
    this.link?.close();
    this.link = null;
    if (this.room) {
      this.room = new Room(this.room.sessionId, this.sub);
      this._tell("room");
      this._connect();
    }
  }

  _connect() {
    if (!this.link) {
      this.link = new LINKS[this.transport](this, {
        event: (name, data) => this._event(name, data),
        snapshot: (reply, how) => this._snapshot(reply, how),
        recovered: () => this._recovered(),
        state: (state, text) => this._state(state, text),
        frame: (direction, label, text) => this.frame(this.sub, direction, label, text),
      });
    }
    this.link.room = this.room;
    this.link.connect(this.room.sessionId);
  }

  _state(status, text) {
    if (this.status === "online" && status !== "online") {
      this.left = performance.now();
      this.missed = 0;
    }
    this.status = status;
    this._tell("status", { text });
  }

  async _snapshot(reply, { resumed }) {
    const { room } = this;
    resumed &&= !reply.reset; // the database went back: this instead of what was there
    const before = room.lastRevision;
    room.snapshot(reply, { resumed });
    this._tell("session");
    while (resumed && reply.has_more) {
      reply = await this.call("history", { after_revision: room.lastRevision, limit: 500 });
      room.merge(reply);
    }
    if (resumed) this._back("synced", room.lastRevision - before);
  }

  _recovered() {
    // What was missed came as events, before or right after this.
    setTimeout(() => this._back("recovered", this.missed ?? 0), 150);
  }

  _back(how, count) {
    if (!this.left) return;
    const seconds = (performance.now() - this.left) / 1000;
    this.left = 0;
    this._tell("back", { how, count, seconds });
  }

  _event(name, data) {
    if (this.left) this.missed += 1;
    if (name === "auth_expiring") this.renew();
    else if (name === "error") this._tell("problem", { error: data });
    else if (name === "session") this._tell("session-event", { data });
    if (name === "session" && data.event === "reset" && data.session_id === this.room?.sessionId) {
      this.through(this.transport); // the database went back: a whole snapshot instead of what is here
      return;
    }
    if (data?.session_id && data.session_id === this.room?.sessionId) this.room.apply(name, data);
  }

  /** A new token, where the server hands them out. */
  async renew() {
    try {
      this.token = await developmentToken(this.sub);
      if (this.status === "online") await this.call("auth_refresh", { token: this.token });
      this._tell("token");
    } catch (error) {
      this._tell("problem", { error });
    }
  }

  async older() {
    const { room } = this;
    const first = room.messages[0]?.seq;
    if (!first || !room.older) return false;
    room.prepend(await this.call("history", { before_seq: first, limit: 200 }));
    return true;
  }

  close() {
    this.link?.close();
    this.link = null;
  }

  _tell(kind, detail = {}) {
    this.dispatchEvent(Object.assign(new Event("change"), { kind, ...detail }));
  }
}
