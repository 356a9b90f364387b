// One conversation as one person knows it: a store of `clients/js`, in the words of this page. It keeps nothing of its own
// but what it guesses. Knows no transport and no DOM.
import { keyOf, senderOf } from "parley-client";

const MARKS = { cancelled: "stopped", failed: "not answered", expired: "not answered" };

export class Room {
  /** `changed(before)` after each change. */
  constructor(parley, sessionId, changed) {
    this.sessionId = sessionId;
    this.store = parley.session(sessionId);
    this.now = this.store.getSnapshot();
    this.guesses = new Map(); // questions of which nothing was told: { message_id, seq, state: "asked" }
    this.waiting = new Set(); // who waits for something: a function
    this.left = this.store.subscribe(() => {
      const before = this.now;
      this.now = this.store.getSnapshot();
      this._guess(before);
      for (const look of [...this.waiting]) look();
      changed(before);
    });
  }

  close() {
    this.left();
  }

  /** Until `holds(room)`. */
  until(holds) {
    return new Promise((resolve) => {
      const look = () => {
        if (!holds(this)) return;
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
      look();
    });
  }

  get me() {
    return this.now.me;
  }

  get session() {
    return this.now.session;
  }

  get messages() {
    return this.now.messages;
  }

  get newest() {
    return this.messages.at(-1);
  }

  find(messageId) {
    return this.messages.findLast(({ message_id }) => message_id === messageId);
  }

  /** Where a message with this seq is, or would be. */
  indexOf(seq) {
    let low = 0;
    let high = this.messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.messages[middle].seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Why one cannot write here: the session has ended, or one's own part in it has. "" where one can. */
  get closed() {
    const { session, connection, error } = this.now;
    if (!session) return "";
    if (connection === "refused" && error?.code === "SESSION_NOT_FOUND") return "removed";
    return session.status === "active" ? "" : session.status;
  }

  // --- people

  isOwn(message) {
    return keyOf(message) === this.me;
  }

  /** Who sent a message: { id, name, picture }. */
  senderOf(message) {
    const { name, avatar_url: picture } = senderOf(this.now, message);
    return { id: message.sender_id, name, picture };
  }

  nameOf(message) {
    return this.senderOf(message).name;
  }

  /** What a user is called: { id, name, picture }. */
  who(id) {
    const { name, avatar_url: picture } = this.now.users[id] ?? {};
    return { id, name: name || id, picture };
  }

  // --- questions and answers

  /** The answer that is being written, if one is: the newest. */
  get writing() {
    return this.messages.findLast(({ status }) => status === "streaming") ?? null;
  }

  /** Questions that are open, by seq. What a person says to an agent is one, until we hear otherwise. */
  get open() {
    const { turns } = this.now;
    return this.guesses.size ? [...turns, ...this.guesses.values()].sort((one, other) => one.seq - other.seq) : turns;
  }

  turnOf(messageId) {
    return this.open.find(({ message_id }) => message_id === messageId);
  }

  /** What a stop would stop: an answer, or a question that has none yet. Its id, or null. */
  get stoppable() {
    const { open } = this;
    return (this.writing ?? open.find(({ state }) => state !== "queued") ?? open[0])?.message_id ?? null;
  }

  /** How many are answered before one that waits; null for one that does not. */
  before(messageId) {
    const turn = this.turnOf(messageId);
    if (turn?.state !== "queued") return null;
    return this.open.filter(({ seq, when_busy }) => seq < turn.seq && when_busy !== "parallel").length;
  }

  /** What a reader should know of a question, in words. */
  mark(messageId) {
    const before = this.before(messageId);
    if (before !== null) return before ? `waits, ${before} before it` : "waits";
    return MARKS[this.now.outcomes[messageId]] ?? "";
  }

  /** It is no question, if the server's list of those that are open has none of them. */
  settle(messageId, turns) {
    if (!turns.some(({ message_id }) => message_id === messageId)) this.guesses.delete(messageId);
  }

  /** A snapshot tells of all that is open; of what comes behind it we hear later. */
  _guess({ connection, messages }) {
    if (connection === "online" && this.session?.agent && this.messages !== messages) {
      for (const { message_id, seq, sender_type } of this._since(messages.at(-1)?.seq ?? 0)) {
        if (sender_type === "user") this.guesses.set(message_id, { message_id, seq, state: "asked" });
      }
    }
    for (const [id, { seq }] of this.guesses) if (this._known(id, seq)) this.guesses.delete(id);
  }

  _known(id, seq) {
    const { turns, outcomes } = this.now;
    return id in outcomes || turns.some(({ message_id }) => message_id === id) || this.find(id)?.deleted_at || this._since(seq).some(({ reply_to }) => reply_to === id);
  }

  _since(seq) {
    return this.messages.slice(this.indexOf(seq + 1));
  }
}
