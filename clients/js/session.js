// One session as its reader sees it: an observable store, and what one can do there. Knows no transport.
import { Store } from "./store.js";
import { ParleyError, asError } from "./errors.js";
import { newId } from "./ids.js";
import * as merge from "./merge.js";
import { derived } from "./parts.js";
import { pathOf } from "./rest.js";
import { uploaded } from "./upload.js";

/** Messages of a page: of what changed, and of the path. */
const CHANGES = 500, PATH = 200, PAGE = 50;
/** Milliseconds: how long a session that nobody looks at stays joined; between two words of typing (the server forgets
 * after six seconds); until what failed is asked for again. */
const LINGER = 5000, TYPING = 3000, AGAIN = 1000;
const SHOWN = Object.keys(merge.SHOWN);

export class Session extends Store {
  #parley;
  #state = merge.EMPTY;
  #joined = false; // there has been a snapshot
  #pending = [];
  #uploads = [];
  #connection = "connecting";
  #error = null;
  #busy = new Set(); // what is being asked for
  #reading = 0; // up to here it is said, or being said, that one has read
  #typed = 0; // when it was last said that one types
  #timer;

  constructor(parley, id) {
    super(null);
    this.#parley = parley;
    this.id = id;
    this.#show();
  }

  // --- what transports tell

  started() {
    clearTimeout(this.#timer);
    this.#parley.enter(this);
  }

  ended() {
    this.#timer = setTimeout(() => this.#parley.leave(this), LINGER);
    this.#timer.unref?.();
  }

  /** What to join with, so that what is known stays. */
  cursor() {
    const { revision, lineage } = this.#state;
    return this.#joined ? { after_revision: revision, lineage, limit: CHANGES } : {};
  }

  /** The reply to `join`, or a `welcome`; `resumed`: to what `cursor` said. */
  snapshot(reply, resumed) {
    this.#joined = true;
    [this.#connection, this.#error] = ["online", null];
    this.#update(merge.joined(this.#state, reply, resumed));
    this.#parley.outbox.settled(this.id);
    for (const message of reply.messages) this.#arrived(message);
  }

  /** What was missed has come, or comes now, as events. */
  recovered() {
    this.connection("online");
    this.#follow();
  }

  /** "connecting", "offline", "refused" (for a reason that a person has to mend), "ended" (readable, closed to all else). */
  connection(word, error = null) {
    [this.#connection, this.#error] = [word, error];
    this.#typed = 0;
    this.#update(word === "online" ? this.#state : merge.away(this.#state));
  }

  /** A join was refused: what has ended can be read all the same. */
  async refused(error) {
    const ended = ["SESSION_ARCHIVED", "SESSION_EXPIRED"].includes(error.code);
    this.connection(ended ? "ended" : "refused", error);
    if (!ended || this.#joined) return;
    try {
      const [session, page] = await Promise.all(["", "/messages"].map((rest) => this.#parley.rest.call("GET", pathOf(this.id) + rest)));
      const nobody = { online: [], read_marks: {}, streams: [] };
      this.#update(merge.joined(this.#state, { session, ...nobody, ...page, users: { ...session.users, ...page.users } }, false));
    } catch (thrown) {
      this.connection("refused", asError(thrown));
    }
  }

  event(name, data) {
    if (name === "session" && data.event === "reset") {
      this.#joined = false; // the database went back: the whole session again
      return this.#parley.enter(this);
    }
    this.#update(merge.event(this.#state, name, data));
    if (name === "message") this.#arrived(data);
    if (name !== "session") return;
    if (["archived", "expired"].includes(data.event)) this.connection("ended", endingOf(data.event));
    if (data.event === "removed" && (data.user_id ?? this.#parley.me) === this.#parley.me) this.connection("refused", endingOf("removed"));
  }

  /** What the outbox has of this session. */
  waits(items) {
    this.#pending = items.map((item) => this.#pending.find((old) => old.item === item) ?? pendingOf(item, this.id, this.#parley.me));
    this.#show();
  }

  knows(message_id) {
    return merge.find(this.#state, message_id);
  }

  // --- what one does

  /** A text, or { content | parts, … } as the command `message` takes it. Shown, kept and sent; the promise is the reply. */
  send = (said) => {
    const given = typeof said === "string" ? { content: said } : said;
    this.#typed = 0;
    this.#parley.open();
    return this.#parley.outbox.add(this.id, { client_message_id: newId(), ...given });
  };

  /** A pending message that was refused, once more; or no more. */
  retry = (id) => this.#parley.outbox.retry(id);
  discard = (id) => this.#parley.outbox.discard(id);

  /** An answer, or the question that has none yet; without an id the newest one. */
  stop = (message_id = this.#stoppable()) => {
    if (!message_id) return Promise.resolve(null);
    return this.#call("stream_cancel", { message_id });
  };

  /** With { branch: true } beside the old version, and answered anew. */
  edit = (message_id, content, more) =>
    this.#call("edit", { message_id, content, ...(more?.branch && { client_message_id: newId() }), ...more });
  remove = (message_id) => this.#call("delete", { message_id });
  regenerate = (message_id, more) => this.#call("regenerate", { message_id, ...more });
  feedback = async (message_id, value, comment) => {
    const given = await this.#call("feedback", { message_id, value, comment });
    this.#update(merge.thought(this.#state, given));
    return given;
  };

  /** Another version of a message is shown, and what follows it: to everybody. */
  select = async (message_id, more) => {
    const reply = await this.#call("select", { message_id, ...more });
    this.#update({ ...this.#state, branched: true, stale: true });
    return reply;
  };

  /** What a message asks for: { status: "resolved" | "cancelled", payload? }. */
  answer = (message_id, interrupt_id, given) =>
    this.#call("answer", { message_id, interrupt_id, client_message_id: newId(), ...given });

  /** At each key: it is said now and then. `false`: no more. */
  typing = (is_typing = true) => {
    const now = Date.now();
    if (this.#connection !== "online" || (is_typing ? now - this.#typed < TYPING : !this.#typed)) return;
    this.#typed = is_typing ? now : 0;
    this.#call("typing", { is_typing }).catch(() => {});
  };

  /** Everything that is shown, or up to `seq`, has been read. What fails is said with the next call. */
  markRead = async (seq = this.#state.messages.at(-1)?.seq) => {
    const known = Math.max(this.#reading, this.#state.readMarks[this.#parley.me] ?? 0);
    if (!(seq > known) || this.#connection !== "online") return;
    this.#reading = seq;
    try {
      const { unread_count } = await this.#call("read", { seq });
      this.#parley.sessions.wasRead(this.id, unread_count);
      this.#update(merge.event(this.#state, "read", { user_id: this.#parley.me, seq }));
    } catch {
      this.#reading = 0;
    }
  };

  loadOlder = (limit = PAGE) =>
    this.#once("older", async () => {
      const state = this.#state;
      const before_seq = state.messages[0]?.seq;
      if (!before_seq || !state.hasOlder) return;
      const page = await this.#call("history", { before_seq, limit });
      if (this.#state.messages[0]?.seq === before_seq) this.#update(merge.older(this.#state, page));
    });

  search = (q, more) => this.#parley.search(q, { session_id: this.id, ...more });

  /** Uploads a file, and says it: with `message`, and whatever else `send` takes. `{ post: false }` uploads alone. */
  upload = async (file, { message, post = true, name = file.name ?? "file", ...more } = {}) => {
    const entry = { id: newId(), name, size: file.size, sent: 0 };
    const shown = (sent) => this.#uploading(this.#uploads.map((each) => (each.id === entry.id ? { ...each, sent } : each)));
    this.#uploading([...this.#uploads, entry]);
    let answer;
    try {
      const { rest } = this.#parley;
      answer = await rest.authorized((token) => uploaded(rest.network, `${rest.base}${pathOf(this.id)}/files`, token, file, name, shown));
    } finally {
      this.#uploading(this.#uploads.filter(({ id }) => id !== entry.id));
    }
    const { file_id } = answer;
    const parts = [{ type: "file", file_id, name, media_type: answer.file_info.type }, ...(message ? [{ type: "text", text: message }] : [])];
    if (post) await this.send({ parts, ...more });
    return answer;
  };

  /** Once more, where it was refused; where it has ended its owner opens it again. */
  reopen = async () => {
    if (this.#connection === "ended") await this.#parley.sessions.update(this.id, { status: "active" });
    this.connection("connecting");
    this.#parley.enter(this);
  };

  // --- inside

  #call(name, payload) {
    return this.#parley.call(name, { session_id: this.id, ...payload });
  }

  #stoppable() {
    const { messages, turns, session } = this.#state;
    const last = messages.at(-1);
    const asked = session?.agent && last?.sender_type === "user" ? last.message_id : null;
    return messages.findLast(({ status }) => status === "streaming")?.message_id ?? turns[0]?.message_id ?? asked;
  }

  /** One's own message, of which this page may not know that it was sent. */
  #arrived(message) {
    const { client_message_id: id, message_id, seq, created_at } = message;
    if (id && merge.keyOf(message) === this.#parley.me) this.#parley.outbox.arrived(id, { ok: true, message_id, seq, created_at });
  }

  #uploading(uploads) {
    this.#uploads = uploads;
    this.#show();
  }

  #update(state) {
    this.#state = state;
    this.#show();
    if (this.#connection === "online") this.#follow();
  }

  #show() {
    const shown = Object.fromEntries(SHOWN.map((name) => [name, this.#state[name]]));
    const { me } = this.#parley;
    this.set({ id: this.id, me, connection: this.#connection, error: this.#error, ...shown, pending: this.#pending, uploads: this.#uploads });
  }

  /** What the state lacks is asked for: the rest of what changed, the path, the texts of streams. */
  #follow() {
    const { behind, stale, holes } = this.#state;
    if (behind) this.#once("changes", () => this.#changes());
    else if (stale) this.#once("path", () => this.#path());
    for (const message_id of holes) this.#once(message_id, () => this.#refill(message_id));
  }

  async #changes() {
    const { revision: after_revision, lineage } = this.#state;
    const page = await this.#call("history", { after_revision, lineage, limit: CHANGES });
    if (page.reset) return this.event("session", { event: "reset" });
    for (const message of page.messages) this.#arrived(message);
    if (this.#state.lineage === lineage) this.#update(merge.changed(this.#state, page));
  }

  async #path() {
    const { lineage } = this.#state;
    this.#state = { ...this.#state, stale: false };
    try {
      const page = await this.#call("history", { limit: PATH });
      if (this.#state.lineage === lineage) this.#update(merge.path(this.#state, page));
    } catch (error) {
      this.#state = { ...this.#state, stale: true };
      throw error;
    }
  }

  async #refill(message_id) {
    try {
      const reply = await this.#call("stream_resume", { message_id, from_index: 0 });
      this.#update(merge.refilled(this.#state, message_id, reply));
    } catch (error) {
      if (error.retryable) throw error;
      this.#state = { ...this.#state, holes: this.#state.holes.filter((id) => id !== message_id) };
    }
  }

  /** One of a kind at a time; what failed is tried again while the session is online. */
  async #once(kind, act) {
    if (this.#busy.has(kind)) return;
    this.#busy.add(kind);
    let wait = 0;
    try {
      return await act();
    } catch (error) {
      if (kind === "older") throw error;
      wait = error.retry_after ?? AGAIN;
    } finally {
      if (wait) await new Promise((done) => setTimeout(done, wait));
      this.#busy.delete(kind);
      if (this.#connection === "online" && kind !== "older") this.#follow();
    }
  }
}

/** An end as the error that a join would have: "archived", "expired" or "removed". */
function endingOf(event) {
  const code = event === "removed" ? "NOT_FOUND" : event.toUpperCase();
  return new ParleyError({ code: `SESSION_${code}`, message: `The session is ${event}` });
}

/** A pending message as it will look: with the fate "saving", "waiting", "sending", "sent" or "failed" as its `status`. */
function pendingOf(item, session_id, me) {
  const { id, payload, at, state: status, error = null } = item;
  const parts = (payload.parts ?? derived(payload.content)).map((part, at) => ({ id: String(at), ...part }));
  const content = payload.content ?? parts.filter(({ type }) => type === "text").map(({ text }) => text).join("\n\n");
  const pending = { client_message_id: id, session_id, sender_type: "user", sender_id: me, created_at: at, status, content, parts, error };
  return Object.defineProperty(pending, "item", { value: item }); // not for readers
}
