// Three doors to the same events and commands. Each link: connect(), call(name, payload), cut(), halfOpen(), restore(),
// close(). It tells `on`: event(name, data), snapshot(reply, {recovered, resumed}), state(state, text),
// frame(direction, label, text). Knows no DOM.
import { rest, ROOT } from "./api.js";

let io = null;
let missing = null;

/** The official Socket.IO client, where the server has it. */
export async function socketIo() {
  if (!io && !missing) {
    try {
      ({ io } = await import(`${ROOT}/vendor/socket.io.esm.min.js`));
    } catch (error) {
      missing = error;
    }
  }
  return io;
}

const PACKETS = { open: 0, close: 1, ping: 2, pong: 3, message: 4, upgrade: 5, noop: 6 };
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

function unwrap(reply) {
  if (!reply?.ok) throw Object.assign(new Error(reply?.error?.message), reply?.error);
  return reply;
}

class Link {
  constructor(person, on) {
    this.person = person;
    this.on = on;
    this.sessionId = null;
    this.room = null; // set by the owner: what is known already
    this.closed = false;
    this.held = false; // the network is cut
  }

  state(state, text = "") {
    this.on.state(state, text);
  }

  async retry(attempt) {
    await wait(Math.min(2000, 250 * 2 ** attempt));
    return !this.closed && !this.held;
  }
}

/** What the raw WebSocket and the event stream share: a connection for one session, which we open again ourselves. */
class OwnLink extends Link {
  constructor(person, on) {
    super(person, on);
    // In the back/forward cache nobody is here, and the browser answers pings all the same. Shown again, we hear
    // that it was closed.
    addEventListener("pagehide", () => this._end());
  }

  async leave() {
    this._drop();
  }

  cut() {
    this.held = true;
    this._end();
  }

  restore() {
    this.held = false;
    this._open(0);
  }

  /** Goes on with a new connection, the old one left as it is. */
  _replace() {
    this.state("offline", "half-open");
    this._open(0);
    return true;
  }

  close() {
    this.closed = true;
    this._drop();
  }
}

/** Socket.IO: recovery is the client's own affair; past its window we sync by `after_revision`. */
export class SocketIoLink extends Link {
  connect(sessionId) {
    this.sessionId = sessionId;
    if (this.socket) {
      this._join();
      return;
    }
    this.state("connecting");
    const socket = io(location.origin, {
      path: `${ROOT}/socket.io/`,
      auth: (give) => give({ token: this.person.token }),
      forceNew: true,
      // A new connection first: a kept one may be dead, and says so late. Where no WebSocket comes through, polling.
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      timeout: 8000,
      reconnectionDelay: 250,
      reconnectionDelayMax: 2000,
    });
    this.socket = socket;
    // As below; this client opens again, and recovers, by itself.
    addEventListener("pagehide", () => socket.io.engine.close());
    this._watch();
    socket.io.on("open", () => this._watch());
    socket.on("connect", () => {
      if (socket.recovered) {
        this.state("online");
        this.on.recovered(true);
      } else this._join();
    });
    socket.on("disconnect", (reason) => this.state(this.held ? "cut" : "offline", reason));
    socket.on("connect_error", (error) => {
      this.state("offline", error.data?.code ?? error.message);
      // What passes by itself the client tries again by itself.
      if (error.data?.code === "TOKEN_EXPIRED") this._renewed();
    });
    socket.onAny((name, data) => this.on.event(name, data));
  }

  async _renewed() {
    await this.person.renew();
    if (await this.retry(2)) this.socket.connect();
  }

  async leave(sessionId) {
    await this.call("leave", { session_id: sessionId }).catch(() => {});
  }

  _join() {
    const sessionId = this.sessionId;
    const after = this.room?.lastRevision;
    const payload = { session_id: sessionId };
    if (after) Object.assign(payload, { after_revision: after, lineage: this.room.lineage, limit: 500 });
    // As the reply comes: after an `await` it might be later than what comes behind it.
    this.socket.timeout(15000).emit("join", payload, (failure, answer) => {
      if (sessionId !== this.sessionId) return;
      try {
        if (failure) throw failure;
        const reply = unwrap(answer);
        this.state("online");
        this.on.snapshot(reply, { resumed: Boolean(after) });
      } catch (error) {
        this.state("offline", error.code ?? error.message);
      }
    });
  }

  _watch() {
    const { engine } = this.socket.io;
    if (!engine || this.engine === engine) return;
    this.engine = engine;
    const name = () => engine.transport?.name ?? "polling";
    // As on the wire: Engine.IO's digit, then its data.
    const show = (packet) => PACKETS[packet.type] + (packet.data ?? "");
    engine.on("packet", (packet) => this.on.frame("in", `Socket.IO ${name()}`, show(packet)));
    engine.on("packetCreate", (packet) => this.on.frame("out", `Socket.IO ${name()}`, show(packet)));
  }

  async call(name, payload) {
    return unwrap(await this.socket.timeout(15000).emitWithAck(name, { session_id: this.sessionId, ...payload }));
  }

  cut() {
    this.held = true;
    this.socket.io.reconnection(false);
    this.socket.io.engine.close();
  }

  restore() {
    this.held = false;
    this.state("connecting");
    this.socket.io.reconnection(true);
    this.socket.connect();
  }

  /** As a phone that left its network: the old connection stays open and silent, a new one is made. */
  halfOpen() {
    const { engine } = this.socket.io;
    const { transport } = engine;
    if (transport?.name !== "websocket") return false;
    const abandoned = transport.ws;
    abandoned.onopen = abandoned.onmessage = abandoned.onclose = abandoned.onerror = null;
    setTimeout(() => abandoned.close(), 60000);
    transport.ws = undefined; // what is closed now has nothing to tell the server
    engine.close();
    return true;
  }

  close() {
    this.closed = true;
    this.socket?.disconnect();
  }
}

/** Raw WebSocket: `{"type": name, …}`; positions in frames, `?after=` to go on. */
export class WebSocketLink extends OwnLink {
  connect(sessionId) {
    this.sessionId = sessionId;
    this.waiting = new Map();
    this.refs = 0;
    this.position = null;
    this._open(0);
  }

  _end() {
    this.ws?.close();
  }

  _drop() {
    const { ws } = this;
    this.ws = null;
    if (ws) {
      ws.onclose = ws.onmessage = null;
      ws.close();
    }
  }

  _open(attempt) {
    this.state("connecting");
    const sessionId = this.sessionId;
    const query = new URLSearchParams();
    const resumed = Boolean(this.position && this.room?.lastRevision);
    if (resumed) {
      query.set("after", this.position);
      query.set("after_revision", this.room.lastRevision);
      query.set("lineage", this.room.lineage);
      query.set("limit", 500);
    }
    const path = `/ws/${encodeURIComponent(sessionId)}?${query}`;
    const ws = new WebSocket(location.origin.replace(/^http/, "ws") + ROOT + path, ["bearer", this.person.token]);
    this.ws = ws;
    this.on.frame("out", "WebSocket", `GET ${path}`);
    ws.onmessage = ({ data }) => {
      attempt = 0;
      this.on.frame("in", "WebSocket", data);
      this._heard(JSON.parse(data), resumed);
    };
    ws.onclose = async ({ code, reason }) => {
      if (this.ws !== ws) return;
      this.on.frame("in", "WebSocket", `close ${code} ${reason}`);
      for (const { reject } of this.waiting.values()) reject(new Error("the connection is gone"));
      this.waiting.clear();
      this.state(this.held ? "cut" : "offline", reason || String(code));
      if ([4003, 4004].includes(code)) return;
      if (code === 4001) await this.person.renew();
      if ((await this.retry(attempt)) && this.ws === ws) this._open(attempt + 1);
    };
  }

  _heard({ type, position, ...data }, resumed) {
    if (position) this.position = position;
    if (type === "welcome") {
      this.position = data.position ?? position;
      this.state("online");
      if (data.recovered) this.on.recovered(true);
      else this.on.snapshot({ ...data, position: this.position }, { resumed });
    } else if (type === "ack") {
      const { resolve } = this.waiting.get(data.ref) ?? {};
      this.waiting.delete(data.ref);
      resolve?.(data);
    } else this.on.event(type, data);
  }

  async call(name, payload = {}) {
    if (this.ws?.readyState !== WebSocket.OPEN) throw new Error("not connected");
    const ref = ++this.refs;
    const text = JSON.stringify({ type: name, ref, ...payload });
    this.on.frame("out", "WebSocket", text);
    const reply = new Promise((resolve, reject) => this.waiting.set(ref, { resolve, reject }));
    this.ws.send(text);
    return unwrap(await reply);
  }

  halfOpen() {
    const abandoned = this.ws;
    abandoned.onmessage = abandoned.onclose = null;
    setTimeout(() => abandoned.close(), 60000);
    this.ws = null;
    return this._replace();
  }
}

/** Server-sent events for what happens, REST for commands; `Last-Event-ID` to go on. */
export class EventStreamLink extends OwnLink {
  connect(sessionId) {
    this.sessionId = sessionId;
    this.lastId = null;
    this._open(0);
  }

  _end() {
    this.controller?.abort();
  }

  _drop() {
    this.abandoned?.abort();
    this.controller?.abort();
    this.controller = null;
  }

  async _open(attempt) {
    this.state("connecting");
    const controller = new AbortController();
    this.controller = controller;
    const headers = { Authorization: `Bearer ${this.person.token}` };
    const resumed = Boolean(this.lastId && this.room?.lastRevision);
    if (resumed) headers["Last-Event-ID"] = this.lastId;
    const query = resumed ? `?after_revision=${this.room.lastRevision}&lineage=${this.room.lineage}&limit=500` : "";
    const path = `/api/chat/sessions/${encodeURIComponent(this.sessionId)}/events${query}`;
    this.on.frame("out", "SSE", `GET ${path}${resumed ? `  Last-Event-ID: ${this.lastId}` : ""}`);
    let reason = "ended";
    try {
      const response = await fetch(ROOT + path, { headers, signal: controller.signal, cache: "no-store" });
      if (!response.ok) {
        const { error } = await response.json();
        this.on.frame("in", "SSE", `${response.status} ${JSON.stringify(error)}`);
        this.state("offline", error.code);
        if (error.code === "TOKEN_EXPIRED") await this.person.renew();
        else if (response.status < 500 && response.status !== 429) return;
      } else {
        let rest = "";
        for await (const text of pieces(response.body)) {
          attempt = 0;
          if (this.controller !== controller) return;
          const blocks = (rest + text).split("\n\n");
          rest = blocks.pop();
          for (const block of blocks) this._heard(block, resumed);
        }
      }
    } catch (error) {
      reason = error.name === "AbortError" ? "cut" : error.message;
    }
    if (this.controller !== controller) return;
    this.state(this.held ? "cut" : "offline", reason);
    if ((await this.retry(attempt)) && this.controller === controller) this._open(attempt + 1);
  }

  _heard(block, resumed) {
    this.on.frame("in", "SSE", block);
    const event = {};
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
    }
    if (event.id) this.lastId = event.id;
    if (!event.data) return;
    const data = JSON.parse(event.data);
    if (event.event === "welcome") {
      this.state("online");
      if (data.recovered) this.on.recovered(true);
      else this.on.snapshot(data, { resumed });
    } else this.on.event(event.event, data);
  }

  async call(name, { message_id, file_id, ...payload } = {}) {
    const base = `/api/chat/sessions/${encodeURIComponent(this.sessionId)}`;
    const options = { token: this.person.token, tap: (direction, label, text) => this.on.frame(direction, label, text) };
    const target = message_id ? `${base}/messages/${encodeURIComponent(message_id)}` : "";
    switch (name) {
      case "message":
        return rest("POST", `${base}/messages`, { ...options, body: payload });
      case "edit":
        return rest("PATCH", target, { ...options, body: payload });
      case "delete":
        return rest("DELETE", target, options);
      case "history":
        return rest("GET", `${base}/messages?${new URLSearchParams(payload)}`, options);
      case "auth_refresh":
        return {}; // each request carries its token
      default:
        return rest("POST", `${base}/${name}`, { ...options, body: { message_id, file_id, ...payload } });
    }
  }

  /** The old response stays open and unread; one at a time, since a browser has six connections to a host. */
  halfOpen() {
    const abandoned = this.controller;
    this.abandoned?.abort();
    this.abandoned = abandoned;
    setTimeout(() => abandoned?.abort(), 60000);
    this.controller = null;
    return this._replace();
  }
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

export const LINKS = { socketio: SocketIoLink, websocket: WebSocketLink, sse: EventStreamLink };
export const NAMES = { socketio: "Socket.IO", websocket: "WebSocket", sse: "SSE + REST" };
