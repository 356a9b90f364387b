// When readers are told: all together, with the next frame where it was quiet, and some twenty times a second while much
// comes. Two hundred chunks a second cost no more renders than that, and what somebody types is in between.

/** Milliseconds between two tellings; after which they are told also where no frame comes: in a hidden page none does. */
const APART = 45, LATEST = 100;

const due = new Set();
let asked = false;
let told = 0; // when

function soon(listener) {
  due.add(listener);
  if (asked) return;
  asked = true;
  const wait = APART - (performance.now() - told);
  if (wait > 0) setTimeout(inFrame, wait);
  else inFrame();
}

function inFrame() {
  const timer = setTimeout(tell, LATEST);
  const frame = globalThis.requestAnimationFrame?.(tell);
  function tell() {
    clearTimeout(timer);
    globalThis.cancelAnimationFrame?.(frame);
    asked = false;
    told = performance.now();
    const listeners = [...due];
    due.clear();
    for (const listener of listeners) listener();
  }
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
