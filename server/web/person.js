// One person: a token, a client of `clients/js` through one of the doors, the room they are in. Knows no DOM.
import { createParley } from "parley-client";
import { sse } from "parley-client/sse";
import { websocket } from "parley-client/websocket";
import { ROOT, claims, developmentToken, rest } from "./api.js";
import { dataOf, isEvent, nameOf } from "./frames.js";
import { Network } from "./network.js";
import { Room } from "./room.js";

/** Milliseconds in which we mostly hear what becomes of a question. */
const TOLD = 1500;
/** Milliseconds in which what was missed comes, before or after a connection is there again. */
const MISSED = 150;
/** Milliseconds before its end in which a token is not used any more. */
const EARLY = 120000;

const DOORS = { websocket, sse }; // else the client's own, Socket.IO's
export const NAMES = { socketio: "Socket.IO", websocket: "WebSocket", sse: "SSE + REST" };

let io = null;

/** Socket.IO's official client, where the server has it. */
export async function socketIo() {
  io ??= await import("socket.io-client").then((found) => found.io, () => null);
  return io;
}

/** Tells `change`, with its `kind`: "client" (another one, with other stores), "room" (another one), "changed" (the room,
 * as it was `before`), "status", "back" (after a cut: `how`, `count`, `seconds`), "session-event", "problem". */
export class Person extends EventTarget {
  /** `frame(who, direction, label, text)` sees everything that goes over the network. */
  constructor(token, frame, transport) {
    super();
    this.token = token;
    this.frame = frame;
    const { sub, name, avatar_url: picture } = claims(token);
    this.sub = sub;
    this.picture = picture;
    this.name = name ?? sub;
    this.room = null;
    this.left = null; // since the connection was lost: { at, messages, events, joined }
    this._open(transport);
  }

  rest(method, path, options = {}) {
    return rest(method, path, { token: this.token, network: this.network, ...options });
  }

  /** "online", "connecting", "offline", "refused", "ended", or "cut": by ourselves. */
  get status() {
    return this.network.held ? "cut" : (this.room?.now.connection ?? "offline");
  }

  /** Joins it, once more where it was closed. */
  enter(sessionId) {
    if (this.room?.sessionId !== sessionId) this._enter(sessionId);
    else if (this.room.closed) this.through(this.transport);
  }

  /** What the server says of the session of this room: one that is open again is joined again. */
  about({ session_id, status }) {
    const { room } = this;
    if (session_id === room?.sessionId && status === "active" && (room.closed || !room.session)) this.through(this.transport);
  }

  /** Another door to the same room. */
  through(transport) {
    const id = this.room?.sessionId;
    this.close();
    this._open(transport);
    this._tell("client");
    if (id) this._enter(id);
  }

  cut() {
    this.network.cut();
    this._tell("status");
  }

  restore() {
    this.network.restore();
    this._tell("status");
  }

  close() {
    this.room?.close();
    this.room = this.left = null;
    this.parley.close();
  }

  _open(transport) {
    this.transport = transport;
    this.network = new Network((...frame) => this._frame(...frame), io);
    const getToken = () => this._token();
    this.parley = createParley({ url: location.origin + ROOT, getToken, transport: DOORS[transport], network: this.network });
  }

  _enter(sessionId) {
    this.room?.close();
    this.left = null;
    const room = new Room(this.parley, sessionId, (before) => this.room === room && this._changed(before));
    this.room = room;
    this._tell("room");
  }

  /** A new one, where the server hands them out. */
  async _token() {
    const { exp, name, avatar_url } = claims(this.token);
    if (exp * 1000 > Date.now() + EARLY) return this.token;
    this.token = await developmentToken(this.sub, name, avatar_url);
    this._tell("token");
    return this.token;
  }

  // --- what happens

  _frame(direction, label, text) {
    this.frame(this.sub, direction, label, text);
    const name = nameOf(label, text);
    if (this.left) {
      if (direction === "out") this.left.joined ||= name === "join";
      else if (name === "welcome") this.left.joined ||= !dataOf(label, text).recovered;
      else this.left.events += isEvent(label, text);
    }
    if (direction === "out" || !isEvent(label, text)) return;
    if (name === "session") this._tell("session-event", { data: dataOf(label, text) });
    else if (name === "error") this._tell("problem", { error: dataOf(label, text) });
  }

  _changed(before) {
    const { now } = this.room;
    if (before.connection === "online" && now.connection !== "online") {
      this.left = { at: performance.now(), messages: new Set(now.messages), events: 0, joined: false };
    } else if (before.connection !== "online" && now.connection === "online") this._back(this.room);
    if (before.connection !== now.connection || before.error !== now.error) this._tell("status");
    for (const id of this.room.guesses.keys()) this._settle(this.room, id);
    this._tell("changed", { before });
  }

  _back(room) {
    const { left } = this;
    if (!left) return;
    const seconds = (performance.now() - left.at) / 1000;
    setTimeout(() => {
      if (this.room !== room || this.left !== left) return;
      this.left = null;
      const count = left.joined ? room.messages.filter((message) => !left.messages.has(message)).length : left.events;
      this._tell("back", { how: left.joined ? "synced" : "recovered", count, seconds });
    }, MISSED);
  }

  /** A question that waits for nothing is begun without a word: if it is slow, we ask whether it is one. */
  _settle(room, messageId) {
    if (room.guesses.get(messageId).asking) return;
    room.guesses.get(messageId).asking = setTimeout(async () => {
      if (this.room !== room || !room.guesses.has(messageId)) return;
      const path = `/api/chat/sessions/${encodeURIComponent(room.sessionId)}/messages?limit=1`;
      const page = await this.rest("GET", path).catch(() => null);
      if (page) room.settle(messageId, page.turns);
      if (this.room === room) this._tell("changed", { before: room.now });
    }, TOLD);
  }

  _tell(kind, detail = {}) {
    this.dispatchEvent(Object.assign(new Event("change"), { kind, ...detail }));
  }
}
