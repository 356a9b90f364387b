// A client of Parley: sessions as observable stores, over any of its doors.
//
//   const parley = createParley({ url: "https://chat.example.com", getToken });
//   const session = parley.session(id);
//   session.subscribe(() => show(session.getSnapshot()));
//   session.send("Hello");
import { asError, closed } from "./errors.js";
import { Outbox } from "./outbox.js";
import { Rest, query } from "./rest.js";
import { Session } from "./session.js";
import { Sessions } from "./sessions.js";
import { indexedDb, memory } from "./storage.js";

export { ParleyError } from "./errors.js";
export { newId } from "./ids.js";
export { keyOf, senderOf } from "./merge.js";
export { indexedDb, memory } from "./storage.js";

/** Milliseconds: how long a command waits for a connection; before a signed address ends it is asked for anew. */
const CONNECTED = 10000, EARLY = 10000;
/** Sessions whose messages are known, also while nobody looks at them. */
const REMEMBERED = 30;
/** Files whose addresses are. */
const FILES = 500;

/** Asks for nothing and connects to nothing before somebody subscribes or acts.
 * `getToken()` is asked for a fresh token whenever one is needed; `storage` keeps pending messages; all that goes over the
 * network goes through `network`. */
export function createParley({ url = globalThis.location?.origin, getToken, transport, storage, network = globalThis }) {
  return new Parley(new Rest(url, getToken, network), transport, storage ?? (globalThis.indexedDB ? indexedDb() : memory()));
}

class Parley {
  /** Who the token says one is; null until there is one. */
  me = null;
  #transport;
  #opening = null;
  #door = null;
  #sessions = new Map();
  #addresses = new Map(); // file -> promise of its signed address
  #closed = false;

  constructor(rest, transport, storage) {
    this.#transport = transport;
    this.rest = rest;
    this.outbox = new Outbox(
      storage,
      (id, payload) => this.call("message", { session_id: id, ...payload }),
      (id) => this.session(id).waits(this.outbox.of(id)),
    );
    this.sessions = new Sessions(this);
  }

  /** The store of a session: always the same one. It is joined while somebody subscribes to it. */
  session(id) {
    if (!this.#sessions.has(id)) this.#sessions.set(id, new Session(this, id));
    return this.#sessions.get(id);
  }

  /** Messages by their words, and titles: { results, has_more, cursor }. */
  search = (q, more) => this.rest.call("GET", `/api/chat/search${query({ q, ...more })}`);

  /** A file's signed { url, thumbnail_url, expires_at }, for `<img>` and the like. */
  fileUrl = async (file_id) => {
    const known = await this.#addresses.get(file_id)?.catch(() => null);
    if (known && Date.parse(known.expires_at) - EARLY > Date.now()) return known;
    const asked = this.rest.call("GET", `/api/chat/files/${encodeURIComponent(file_id)}/url`);
    if (this.#addresses.size > FILES) this.#addresses.clear();
    this.#addresses.set(file_id, asked);
    return asked;
  };

  /** "online" or "away": of this connection, in all sessions. */
  presence = (status) => this.call("presence", { status });

  /** Once more, where a person had to mend something: they signed in again. */
  reconnect = async () => {
    this.rest.token(true);
    (await this.open())?.reconnect();
    for (const session of this.#sessions.values()) if (session.watched && session.getSnapshot().connection === "refused") session.reopen();
  };

  /** Ends all connections, for good. */
  close() {
    this.#closed = true;
    globalThis.removeEventListener?.("visibilitychange", this.outbox.look);
    this.rest.close();
    this.#door?.close();
    const error = closed();
    this.#connection("offline", error);
    for (const session of this.#sessions.values()) session.connection("offline", error);
  }

  // --- for the stores

  /** The door, which begins to connect with the first call. */
  open() {
    if (this.#closed) return Promise.resolve(null);
    return (this.#opening ??= this.#open());
  }

  async #open() {
    this.#known();
    globalThis.addEventListener?.("visibilitychange", this.outbox.look);
    const make = this.#transport ?? (await import("./transport/socketio.js")).socketio;
    this.#door = make(this.rest, { event: this.#event, connection: this.#connection });
    if (this.#closed) this.#door.close();
    return this.#door;
  }

  /** Who one is: whose pending messages are whose. */
  async #known(wait = 500) {
    try {
      this.me = await this.rest.me();
    } catch (error) {
      if (this.#closed) return;
      this.sessions.connection("offline", asError(error));
      return setTimeout(() => this.#known(Math.min(8000, wait * 2)), wait);
    }
    await this.outbox.open(`${this.rest.base} ${this.me}`);
  }

  async enter(session) {
    this.#sessions.set(session.id, session); // it may have been forgotten
    const door = await this.open();
    if (session.watched && !this.#closed) door.enter(session);
  }

  leave(session) {
    if (session.watched) return;
    this.#door?.leave(session);
    for (const [id, old] of this.#sessions) if (this.#sessions.size > REMEMBERED && !old.watched) this.#sessions.delete(id);
  }

  /** A command, when there is a connection: its reply, or a `ParleyError`. */
  async call(name, payload) {
    const door = await this.open();
    if (this.#closed) throw closed();
    return door.call(name, payload, CONNECTED);
  }

  /** `strange`: of a session whose snapshot has not come yet, or that was left. */
  #event = (name, data, strange) => {
    if (name === "auth_expiring") this.rest.token(true).then((token) => this.#door.refresh(token)).catch(() => {});
    this.sessions.event(name, data);
    if (strange || data.event === "activity" || data.event === "added") return; // of sessions that one has not joined
    this.#sessions.get(data.session_id)?.event(name, data);
  };

  #connection = (word, error) => {
    this.sessions.connection(word, error);
    this.outbox.connected(word === "online");
  };
}
