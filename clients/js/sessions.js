// The list of one's sessions, with the last words and what is unread in each: live while there is a connection.
import { Store } from "./store.js";
import { asError } from "./errors.js";
import { keyOf } from "./merge.js";
import { pathOf, query } from "./rest.js";

const ALL = "/api/chat/sessions";
const PAGE = 20, MOST = 100;
/** Milliseconds in which several reasons to ask are one; until what failed is tried again. */
const SOON = 200, AGAIN = 2000;
/** Characters of a preview. */
const PREVIEW = 100;

export class Sessions extends Store {
  #parley;
  #list = [];
  #rest = { hasMore: false, total: 0, connection: "connecting", error: null };
  #cursor = null; // of the next page
  #asked = null; // the timer of the next question
  #asking = null;
  #changes = 0; // how often something was told meanwhile

  constructor(parley) {
    super(null);
    this.#parley = parley;
    this.#show();
  }

  started() {
    this.#parley.open();
    this.#soon(0);
  }

  // --- what one does

  /** The first ones again; all that were loaded, up to a hundred. */
  refresh = () => (this.#asking ??= this.#refresh().finally(() => (this.#asking = null)));

  loadMore = async (limit = PAGE) => {
    if (this.#list.length && !this.#cursor) return;
    const page = await this.#page({ limit, cursor: this.#cursor });
    const known = new Set(this.#list.map(({ session_id }) => session_id));
    this.#take([...this.#list, ...page.sessions.filter(({ session_id }) => !known.has(session_id))], page);
  };

  /** { agent_id?, title?, metadata?, ttl_hours? }; the answer has its `session_id`. */
  create = async (given = {}) => {
    const made = await this.#parley.rest.call("POST", ALL, given);
    this.#soon(0);
    return made;
  };

  /** { title?, metadata?, status? }: `active` opens again what has ended. */
  update = async (id, changes) => {
    const session = await this.#parley.rest.call("PATCH", pathOf(id), changes);
    this.#change(id, { title: session.title, status: session.status });
    return session;
  };

  archive = async (id) => {
    await this.#parley.rest.call("DELETE", pathOf(id));
    this.#change(id, { status: "archived" });
  };

  // --- what is told

  connection(word, error = null) {
    this.#rest = { ...this.#rest, connection: word, error };
    this.#show();
    if (word === "online") this.#soon(0); // what moved meanwhile nobody repeats
  }

  event(name, data) {
    if (!this.watched) return;
    if (name === "session") this.#session(data);
    else if (name === "read" && data.user_id === this.#parley.me) this.#soon(SOON);
    else if (name === "message" || name === "stream_start") this.#said(data);
    else if (name === "stream_end") this.#ended(data.session_id);
  }

  wasRead(id, unread_count) {
    this.#change(id, { unread_count });
  }

  #session({ event, session_id, timestamp, user_id, title, ...told }) {
    const mine = (user_id ?? this.#parley.me) === this.#parley.me;
    if (event === "activity") this.#moved(session_id, () => told);
    else if (event === "added") this.#soon(SOON);
    else if (event === "removed" && mine) this.#take(this.#list.filter((each) => each.session_id !== session_id));
    else if (event === "updated" && title !== undefined) this.#change(session_id, { title });
    else if (["archived", "expired"].includes(event)) this.#change(session_id, { status: event });
  }

  /** In a session that one has joined: there no activity is told. An answer that goes on is no other one. */
  #said({ session_id, content, created_at, timestamp, ...message }) {
    const more = keyOf(message) !== this.#parley.me && !this.#parley.session(session_id).knows(message.message_id);
    this.#moved(session_id, ({ unread_count, last_message }) => ({
      last_message: content?.slice(0, PREVIEW) || last_message,
      last_message_at: created_at ?? timestamp,
      unread_count: unread_count + more,
    }));
  }

  // --- inside

  /** What is said last, where that is known: nobody has to be asked. */
  #ended(id) {
    const { content } = this.#parley.session(id).getSnapshot().messages.at(-1) ?? {};
    if (content) this.#change(id, { last_message: content.slice(0, PREVIEW) });
  }

  #moved(id, make) {
    const session = this.#list.find(({ session_id }) => session_id === id);
    if (!session) return this.#soon(SOON);
    this.#changes += 1;
    this.#take([{ ...session, ...make(session) }, ...this.#list.filter((each) => each !== session)]);
  }

  #change(id, fate) {
    this.#changes += 1;
    this.#take(this.#list.map((each) => (each.session_id === id ? { ...each, ...fate } : each)));
  }

  #soon(ms) {
    this.#changes += 1;
    if (!this.watched) return;
    clearTimeout(this.#asked);
    this.#asked = setTimeout(() => this.refresh().catch(() => {}), ms);
    this.#asked.unref?.();
  }

  async #refresh() {
    const before = this.#changes;
    try {
      const page = await this.#page({ limit: Math.min(MOST, Math.max(PAGE, this.#list.length)) });
      if (this.#changes !== before) this.#soon(SOON);
      this.#rest = { ...this.#rest, error: null };
      this.#take(page.sessions.map((each) => this.#list.find((old) => same(old, each)) ?? each), page);
    } catch (thrown) {
      const error = asError(thrown);
      this.#rest = { ...this.#rest, error };
      this.#show();
      if (error.retryable) this.#soon(error.retry_after ?? AGAIN);
      throw error;
    }
  }

  #page(asked) {
    return this.#parley.rest.call("GET", ALL + query(asked));
  }

  /** With the `page` that it ends with: one that was asked for by a cursor has no `total`. */
  #take(list, page) {
    this.#list = list;
    if (page) {
      this.#cursor = page.cursor;
      this.#rest = { ...this.#rest, hasMore: page.has_more, total: page.total ?? this.#rest.total };
    }
    this.#show();
  }

  #show() {
    this.set({ sessions: this.#list, ...this.#rest });
  }
}

const same = (one, other) => one.session_id === other.session_id && JSON.stringify(one) === JSON.stringify(other);
