// When readers are told: at most once in a frame, all together, so that two hundred chunks a second cost as many renders
// as the screen can show.

/** Milliseconds after which they are told also where no frame comes: in a hidden page none does. */
const LATEST = 100;

const due = new Set();
let asked = false;

function soon(listener) {
  due.add(listener);
  if (asked) return;
  asked = true;
  let frame;
  const timer = setTimeout(tell, LATEST);
  function tell() {
    clearTimeout(timer);
    globalThis.cancelAnimationFrame?.(frame);
    asked = false;
    const listeners = [...due];
    due.clear();
    for (const listener of listeners) listener();
  }
  frame = globalThis.requestAnimationFrame?.(tell);
}

const subscribers = new WeakMap(); // store -> its `subscribe`, always the same

/** `store.subscribe`, for frames. */
export function framed(store) {
  if (!subscribers.has(store)) {
    subscribers.set(store, (listener) => {
      const own = () => listener(); // the same function may come twice
      const end = store.subscribe(() => soon(own));
      return () => (due.delete(own), end());
    });
  }
  return subscribers.get(store);
}
