// What was said here and is not known to be committed: kept in a storage, sent with the same id until the server has
// it, one after the other in each session. Knows no transport.
import { ParleyError, asError } from "./errors.js";

/** Milliseconds until a repeat, where the server has not said when: doubled each time, up to the second. */
const AGAIN = [500, 8000];
const KEPT = ({ id, session_id, order, at, payload, error }) => ({ id, session_id, order, at, payload, error });

export class Outbox {
  #storage;
  #send;
  #changed;
  #box;
  #items = []; // { ...KEPT, state, stored: as it is, message_id? }, by order
  #first = Infinity; // what is said before it is known whose it is goes behind all that was kept
  #promises = new Map(); // id -> { resolve, reject }, of this page
  #leaving = new Set(); // ids that are about to be gone from the storage
  #lanes = new Map(); // session -> what ends its pause
  #up = false;
  #opened;
  #open;

  /** `send(session_id, payload)` is the reply to `message`; `changed(session_id)` is told of every change. */
  constructor(storage, send, changed) {
    [this.#storage, this.#send, this.#changed] = [storage, send, changed];
    this.#opened = new Promise((resolve) => (this.#open = resolve));
  }

  /** Whose: known with the first token. */
  async open(box) {
    this.#box = box;
    await this.#read();
    this.#items.reduce((last, item) => (item.order = item.order < Infinity ? item.order : last + 1), 0);
    this.#first = 0;
    this.#open();
  }

  of(session_id) {
    return this.#items.filter((item) => item.session_id === session_id);
  }

  /** Shown at once, kept, and sent. The promise is the server's reply, or why it will not take it. */
  add(session_id, payload) {
    const id = payload.client_message_id;
    const item = { id, session_id, order: this.#last() + 1, at: new Date().toISOString(), payload, state: "saving" };
    item.kept = this.#opened.then(() => this.#keep(id));
    this.#items = [...this.#items, item];
    this.#changed(session_id);
    const reply = new Promise((resolve, reject) => this.#promises.set(id, { resolve, reject }));
    reply.catch(() => {}); // who looks at the item alone has its error there
    item.kept.then(() => {
      this.#turn(item, { state: "waiting" });
      this.#run(session_id);
    });
    return reply;
  }

  /** One that was refused, once more, behind all others. */
  retry(id) {
    const item = this.#items.find((each) => each.id === id && each.state === "failed");
    if (!item) return;
    const again = { ...item, order: this.#last() + 1, state: "waiting", stored: false, error: undefined };
    this.#items = [...this.#items.filter((each) => each !== item), again];
    this.#changed(item.session_id);
    this.#keep(id).then(() => this.#run(item.session_id));
  }

  /** It goes no further. False where it may be at the server already. */
  discard(id) {
    const item = this.#items.find((each) => each.id === id);
    if (!item || item.tried) return false;
    this.#drop(item);
    this.#answer(id, "reject", new ParleyError({ code: "CANCELLED" }));
    return true;
  }

  /** Its message has come: with `message_id`, `seq` and `created_at`, as a reply. */
  arrived(id, reply) {
    const item = this.#items.find((each) => each.id === id);
    if (!item) return;
    this.#drop(item);
    this.#answer(id, "resolve", reply);
  }

  /** A snapshot has come: what was acknowledged before is in it. */
  settled(session_id) {
    for (const item of this.of(session_id)) if (item.state === "sent") this.#drop(item);
  }

  /** With a connection all lanes go on, at once; without one they wait. */
  async connected(up) {
    this.#up = up;
    if (!up) return;
    await this.look();
    for (const end of this.#lanes.values()) end?.();
  }

  /** Another tab may have left some, sent ours, or said them once more. */
  look = async () => {
    await this.#opened;
    await this.#read();
    for (const session_id of new Set(this.#items.map((item) => item.session_id))) this.#run(session_id);
  };

  // --- sending

  async #run(session_id) {
    if (this.#lanes.has(session_id)) return;
    this.#lanes.set(session_id, null);
    let pause = AGAIN[0];
    for (;;) {
      const item = this.of(session_id).find(({ state }) => state === "waiting" || state === "saving");
      if (!this.#up || item?.state !== "waiting") break; // before it is kept nothing behind it goes, either
      const failure = await this.#try(item);
      if (failure) await this.#pause(session_id, failure.retry_after ?? pause);
      pause = failure ? Math.min(AGAIN[1], pause * 2) : AGAIN[0];
    }
    this.#lanes.delete(session_id);
  }

  /** What passes by itself, if that is how it failed. */
  async #try(item) {
    this.#turn(item, { state: "sending", stored: false, tried: true, error: undefined });
    try {
      const reply = await this.#send(item.session_id, item.payload);
      this.#forget(item.id);
      if (reply.duplicate) this.#drop(item); // it was told before
      else this.#turn(item, { state: "sent", message_id: reply.message_id });
      this.#answer(item.id, "resolve", reply);
    } catch (thrown) {
      const error = asError(thrown);
      if (error.retryable || ["UNAUTHORIZED", "CLOSED"].includes(error.code)) {
        this.#turn(item, { state: "waiting", error });
        return error;
      }
      const { code, message, details } = error;
      this.#turn(item, { state: "failed", tried: false, error: { code, message, details, retryable: false } });
      await this.#keep(item.id);
      this.#answer(item.id, "reject", error);
    }
    return null;
  }

  #answer(id, how, value) {
    this.#promises.get(id)?.[how](value);
    this.#promises.delete(id);
  }

  #pause(session_id, ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#lanes.set(session_id, () => (clearTimeout(timer), resolve()));
    });
  }

  #turn(item, fate) {
    const next = this.#items.find(({ id }) => id === item.id);
    if (!next) return;
    this.#items = this.#items.map((each) => (each === next ? { ...next, ...fate } : each));
    this.#changed(item.session_id);
  }

  #drop(item) {
    this.#items = this.#items.filter(({ id }) => id !== item.id);
    this.#changed(item.session_id);
    this.#forget(item.id, item.kept);
  }

  // --- keeping

  #last() {
    return this.#items.at(-1)?.order ?? this.#first;
  }

  async #keep(id) {
    const item = this.#items.find((each) => each.id === id);
    if (!item) return;
    try {
      await this.#storage.put(this.#box, KEPT(item));
      this.#turn(item, { stored: true });
    } catch (failure) {
      console.warn(failure);
    }
  }

  async #forget(id, kept) {
    this.#leaving.add(id);
    try {
      await kept;
      await this.#storage.remove(this.#box, id);
      this.#leaving.delete(id);
    } catch {
      // after a reload it is sent once more, with its id
    }
  }

  /** What others put there comes in, what they sent goes: what rests in the storage is as they left it there. */
  async #read() {
    const before = this.#items;
    let kept;
    try {
      kept = await this.#storage.list(this.#box);
    } catch {
      return;
    }
    const now = this.#items;
    const ours = now.filter((item) => !item.stored || this.#promises.has(item.id) || !before.includes(item));
    const known = new Set([...ours, ...before.filter((item) => !now.includes(item))].map(({ id }) => id));
    const theirs = kept
      .filter(({ id }) => !known.has(id) && !this.#leaving.has(id))
      .map((item) => ({ ...item, state: item.error ? "failed" : "waiting", stored: true, tried: !item.error }));
    this.#items = [...ours, ...theirs].sort((one, other) => one.order - other.order);
    for (const session_id of new Set([...now, ...theirs].map((item) => item.session_id))) this.#changed(session_id);
  }
}
