// A value that changes, and who wants to know: `subscribe(listener)` and `getSnapshot()`, as React's
// `useSyncExternalStore` and others take them.

export class Store {
  #listeners = new Set();
  #snapshot;
  #telling = false;

  constructor(first) {
    this.#snapshot = first;
  }

  /** The same object until something changes; what did not change in it stays the same object, too. */
  getSnapshot = () => this.#snapshot;

  /** `listener()` after changes, once for all that came together. Gives back what ends it. */
  subscribe = (listener) => {
    const own = () => listener(); // the same function may come twice
    this.#listeners.add(own);
    if (this.#listeners.size === 1) this.started();
    return () => {
      if (this.#listeners.delete(own) && !this.#listeners.size) this.ended();
    };
  };

  get watched() {
    return this.#listeners.size > 0;
  }

  set(snapshot) {
    this.#snapshot = snapshot;
    if (this.#telling) return;
    this.#telling = true;
    queueMicrotask(() => {
      this.#telling = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }

  /** The first listener came. */
  started() {}

  /** The last one is gone. */
  ended() {}
}
