// What a person has said in a session and the server has not confirmed: kept over a refresh, and sent with the same id
// until it is. Knows no DOM.

const KEY = "parley-unsent";
const AGAIN = 2000; // milliseconds, where the server has not said when

export class Outbox {
  /** `changed()` when there is more or less of it; `refused(content, error)` what no repeat can bring in. */
  constructor(person, sessionId, { changed, refused }) {
    Object.assign(this, { person, sessionId, changed, refused });
    this.key = `${KEY}:${person.sub}:${sessionId}`;
    this.items = JSON.parse(sessionStorage.getItem(this.key) ?? "[]");
  }

  add(content) {
    this.items.push({ content, client_message_id: crypto.randomUUID() });
    this._keep();
    this.send();
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
    let refusal = null;
    try {
      await this.person.call("message", item);
    } catch (failure) {
      if (!failure.code || (failure.error ?? failure).retryable) throw failure;
      refusal = failure;
    }
    this.items = this.items.filter((each) => each !== item);
    this._keep();
    if (refusal) this.refused(item.content, refusal);
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
