"use client";
// A store of parley-client's as React reads it: what is selected stays the same object while it is equal, and a page that
// was rendered by a server begins with what that server could know, which is nothing.
import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { framed } from "./frames.js";

const all = (state) => state;
const NOBODY = { getSnapshot: () => null, subscribe: () => () => {} };

/** `select(state)` of `store`, again when it is another one. `first`: the state before anything is known. */
export function useStore(store, select = all, first = null) {
  const last = useRef(undefined); // what is shown
  const [now, before] = useMemo(() => [chosen(select, last), chosen(select, last)], [select]);
  const from = store ?? NOBODY;
  const value = useSyncExternalStore(framed(from), () => now(store ? from.getSnapshot() : first), () => before(first));
  useEffect(() => {
    last.current = { value };
  }, [value]);
  return value;
}

function chosen(select, last) {
  let seen, value;
  return (state) => {
    if (seen?.state === state) return value;
    const next = select(state);
    const known = seen ? { value } : last.current;
    seen = { state };
    return (value = known && same(known.value, next) ? known.value : next);
  };
}

/** Equal at one level: a selection that is made anew, as `({ a, b }) => ({ a, b })`, is no change. */
function same(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => Object.is(one[name], other[name]));
}
