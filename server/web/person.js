// One person: a token, a link through one of the doors, the room they are in. Knows no DOM.
import { claims, developmentToken, rest } from "./api.js";
import { Room } from "./room.js";
import { LINKS } from "./transports.js";

/** Messages of a branch that are asked for at once. */
const PAGE = 200;
/** Milliseconds in which we mostly hear what becomes of a question. */
const TOLD = 1500;

export class Person extends EventTarget {
  /** `frame(who, direction, label, text)` sees everything that goes over the network. */
  constructor(token, frame, transport) {
    super();
    this.token = token;
    this.frame = frame;
    this.transport = transport;
    const { sub, name, avatar_url: picture } = claims(token);
    this.sub = sub;
    this.picture = picture;
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
    if (this.room?.sessionId === sessionId) {
      if (this.room.closed) this.through(this.transport);
      return;
    }
    const old = this.room?.sessionId;
    this.room = new Room(sessionId, this.sub);
    this._tell("room");
    if (old && this.link) await this.link.leave(old);
    this._connect();
  }

  /** What the server says of the session of this room: one that is open again is joined again. */
  about({ session_id, title, status }) {
    const { room } = this;
    if (session_id !== room?.sessionId) return;
    if (status === "active" && (room.closed || !room.session)) this.through(this.transport);
    else room.apply("session", { event: status === "active" ? "updated" : status, title });
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
    this._follow(room);
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
    if (data?.session_id && data.session_id === this.room?.sessionId) {
      this.room.apply(name, data);
      this._follow(this.room);
      if (name === "message") this._settle(this.room, data.message_id);
    }
  }

  /** Where another branch is gone on with: its path, as the server has it. */
  _follow(room) {
    if (!room.stale) return room.followed;
    room.followed ??= this._path(room).finally(() => (room.followed = null));
    return room.followed;
  }

  async _path(room) {
    while (room.stale && this.room === room) {
      room.stale = false;
      const page = await this.call("history", { limit: PAGE }).catch(() => null);
      room.stale ||= !page; // for want of a connection: who is back asks again
      if (!page) return;
      room.path(page);
    }
  }

  /** Another version of a message is shown, and what follows it: to everybody. */
  async select(messageId) {
    const { room } = this;
    await this.call("select", { message_id: messageId });
    room.stale = true;
    await this._follow(room);
  }

  /** A question that waits for nothing is begun without a word: if it is slow, we ask whether it is one. */
  _settle(room, messageId) {
    const unsure = () => this.room === room && this.status === "online" && room.turns.open.get(messageId)?.state === "asked";
    if (!unsure()) return;
    setTimeout(async () => {
      if (!unsure()) return;
      const page = await this.call("history", { limit: 1 }).catch(() => null);
      if (page) room.settle(messageId, page.turns);
    }, TOLD);
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

  /** What a message asked for. The first answer counts: one that came later is told which it was. */
  async answer({ message_id }, { id }, answer) {
    const { room } = this;
    const client_message_id = crypto.randomUUID();
    try {
      await this.call("answer", { message_id, interrupt_id: id, client_message_id, ...answer });
    } catch (failure) {
      const { code, details } = failure.error ?? failure;
      if (code !== "CONFLICT" || !details?.answer) throw failure;
      room.answered(message_id, id, details.answer);
    }
  }

  /** What one thinks of a message; null takes it back. */
  async feedback({ message_id }, value, comment) {
    const { room } = this;
    const given = await this.call("feedback", { message_id, value, ...(comment && { comment }) });
    room.thought(message_id, given);
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
