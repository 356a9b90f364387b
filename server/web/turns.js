// Which questions of a conversation are open: asked, in line, being answered. Knows no transport and no DOM.

const MARKS = { cancelled: "stopped", failed: "not answered", expired: "not answered" };

export class Turns {
  constructor() {
    this.open = new Map(); // question -> { message_id, seq, state, when_busy?, answer_id? }, by seq
    this.outcomes = new Map(); // question -> how it ended, where no answer says so
    this.over = new Set(); // questions that are open no more
  }

  /** All that are open, as `join` and `history` tell them, and those of the page that ended without an answer. */
  snapshot(turns = [], unanswered = []) {
    this.open = new Map(turns.map((turn) => [turn.message_id, turn]));
    this.ended(unanswered);
  }

  ended(unanswered = []) {
    for (const { message_id, outcome } of unanswered) if (!this.open.has(message_id)) this.done(message_id, outcome);
  }

  /** A question was committed. What becomes of it is told later; "asked" is our guess until then. */
  asked({ message_id, seq }) {
    if (!this.open.has(message_id) && !this.over.has(message_id)) this._put({ message_id, seq, state: "asked" });
  }

  /** A `turn` event. That an answer has begun is true whichever of the two is told first. */
  told({ message_id, seq, state, outcome, ...more }) {
    const known = this.open.get(message_id);
    if (state === "done") this.done(message_id, outcome);
    else if (!(known?.answer_id && state === "queued")) this._put({ ...known, ...more, message_id, seq: seq ?? known?.seq ?? Infinity, state });
  }

  begun(message_id, answer_id) {
    const known = this.open.get(message_id);
    this.outcomes.delete(message_id);
    this._put({ seq: Infinity, ...known, message_id, state: "running", answer_id });
  }

  /** The end of an answer is the end of its turns, unless it waits for a person. */
  answered(answer_id, status) {
    for (const turn of [...this.open.values()].filter((each) => each.answer_id === answer_id)) {
      if (status === "waiting") turn.state = status;
      else this.done(turn.message_id);
    }
  }

  done(message_id, outcome) {
    this.open.delete(message_id);
    this.over.add(message_id);
    if (outcome) this.outcomes.set(message_id, outcome);
  }

  /** The first of those that nobody has begun to write the answer of; in line only where nothing else is open. */
  get current() {
    const turns = [...this.open.values()];
    return turns.find(({ state }) => state !== "queued") ?? turns[0] ?? null;
  }

  /** How many are answered before one that waits; null for one that does not. */
  before(message_id) {
    const turn = this.open.get(message_id);
    if (turn?.state !== "queued") return null;
    return [...this.open.values()].filter(({ seq, when_busy }) => seq < turn.seq && when_busy !== "parallel").length;
  }

  /** What a reader should know of a question, in words. */
  mark(message_id) {
    const before = this.before(message_id);
    if (before !== null) return before ? `waits, ${before} before it` : "waits";
    return MARKS[this.outcomes.get(message_id)] ?? "";
  }

  _put(turn) {
    this.open.set(turn.message_id, turn);
    this.open = new Map([...this.open].sort(([, one], [, other]) => one.seq - other.seq));
  }
}
