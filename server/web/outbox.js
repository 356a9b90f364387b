// What a person has said in a session and the server has not confirmed: kept over a refresh, and sent with the same id
// until it is. Knows no DOM.

const KEY = "parley-unsent";
const AGAIN = 2000; // milliseconds, where the server has not said when

export class Outbox {
  /** `changed()` when there is more or less of it; `refused(content, error)` what no repeat can bring in, and, without
   * an error, what was taken back; `stop(messageId)` what is to be stopped was committed. */
  constructor(person, sessionId, { changed, refused, stop }) {
    Object.assign(this, { person, sessionId, changed, refused, stop });
    this.key = `${KEY}:${person.sub}:${sessionId}`;
    // Before a refresh it may have been sent.
    this.items = JSON.parse(sessionStorage.getItem(this.key) ?? "[]").map((item) => ({ ...item, tried: true }));
  }

  add(content) {
    this.items.push({ content, client_message_id: crypto.randomUUID() });
    this._keep();
    this.send();
  }

  /** The last of it goes no further. What may have reached the server is stopped there. */
  takeBack() {
    const item = this.items.at(-1);
    if (!item) return;
    if (item.tried) item.stopped = true;
    else this.items.pop();
    this._keep();
    if (!item.tried) this.refused(item.content);
  }

  /** All of it, in the order in which it was said. */
  async send() {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.items.length && this._here()) await this._first();
    } catch (failure) {
      this._later(failure);
    } finally {
      this.sending = false;
    }
  }

  async _first() {
    const [item] = this.items;
    const { content, client_message_id } = item;
    let refusal = null;
    let sent = null;
    item.tried = true;
    try {
      sent = await this.person.call("message", { content, client_message_id });
    } catch (failure) {
      if (!failure.code || (failure.error ?? failure).retryable) throw failure;
      refusal = failure;
    }
    this.items = this.items.filter((each) => each !== item);
    this._keep();
    if (refusal) this.refused(content, refusal);
    else if (item.stopped) this.stop(sent.message_id);
  }

  /** Who comes back online sends again at once; this is for those who are. */
  _later(failure) {
    const { retry_after: wait } = failure.error ?? failure;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), wait ?? AGAIN);
  }

  _here() {
    return this.person.status === "online" && this.person.room?.sessionId === this.sessionId;
  }

  _keep() {
    if (this.items.length) sessionStorage.setItem(this.key, JSON.stringify(this.items));
    else sessionStorage.removeItem(this.key);
    this.changed();
  }
}
