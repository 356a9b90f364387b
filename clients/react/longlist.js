"use client";
// A list that ends with the newest and may have thousands: some of it is in the page, what one looks at stays where it
// is while others come before and behind it, and its end is followed while one is there.
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";

/** Items in the page at its end; twice as many elsewhere. */
const SIZE = 60;
/** Items that are asked for at once on the way to what is sought. */
const PAGE = 200;
/** Pixels before either end of what is in the page at which more of it is put there; that are the end. */
const NEAR = 800, END = 40;
const useLayout = globalThis.document ? useLayoutEffect : useEffect; // a server has no layout, and would warn

/** `{ ref, shown, atEnd, toEnd, toKey }`. `ref` is the scroller's; `shown` the items to render, each in an element with
 * `data-key={keyOf(item)}`; `toKey(key)` shows one of `items`: false where it is none of them.
 * `loadOlder(limit?)` is called near the beginning, while `hasOlder`, and until `sought` is there: the key of one to show. */
export function useLongList(items, { keyOf, hasOlder = false, loadOlder, sought, size = SIZE }) {
  const [first, setFirst] = useState(null); // the key of the first in the page; null: the last ones are there
  const [atEnd, setAtEnd] = useState(true);
  const [scroller, setScroller] = useState(null);
  const place = useRef({ pinned: true, anchor: null, wanted: null, loading: false }).current;

  const found = first === null ? -1 : items.findIndex((item) => keyOf(item) === first);
  const start = found < 0 ? Math.max(0, items.length - size) : found;
  const end = found < 0 ? items.length : Math.min(items.length, start + 2 * size);
  const shown = useMemo(() => items.slice(start, end), [items, start, end]);
  const now = useRef(null);
  now.current = { items, start, end, keyOf, hasOlder, loadOlder };

  /** More is put into the page where one comes near the end of what is there. */
  const look = useCallback(() => {
    const { items, start, end, keyOf, hasOlder, loadOlder } = now.current;
    const { scrollTop, scrollHeight, clientHeight } = scroller;
    const below = scrollHeight - clientHeight - scrollTop;
    place.pinned = below < END && end === items.length;
    setAtEnd(place.pinned);
    place.anchor = place.pinned ? null : anchorIn(scroller);
    const half = Math.ceil(size / 2);
    const near = Math.min(NEAR, (scrollHeight - clientHeight) / 4); // of both ends one is near
    if (scrollTop <= near && start > 0) setFirst(keyOf(items[Math.max(0, start - half)]));
    else if (scrollTop <= near && hasOlder && !place.loading) {
      place.loading = true;
      if (items.length) setFirst(keyOf(items[start])); // what comes is before it
      Promise.resolve(loadOlder?.()).catch(() => {}).finally(() => (place.loading = false));
    } else if (below < near && end < items.length) setFirst(keyOf(items[start + half]));
    else if (place.pinned) setFirst(null);
  }, [scroller, size, place]);

  /** After whatever changed sizes. */
  const settle = useCallback(() => {
    if (place.wanted) {
      const element = elementOf(scroller, place.wanted);
      if (element) element.scrollIntoView({ block: "center" });
      [place.wanted, place.pinned] = [null, false];
      place.anchor = anchorIn(scroller);
    } else if (place.pinned) scroller.scrollTop = scroller.scrollHeight;
    else if (place.anchor) {
      const element = elementOf(scroller, place.anchor.key);
      const moved = element ? element.getBoundingClientRect().top - place.anchor.top : 0;
      if (moved) scroller.scrollTop += moved;
    }
  }, [scroller, place]);

  useLayout(() => {
    if (scroller) settle();
  });

  // What was asked for has come: there may be room for more.
  useEffect(() => {
    if (scroller) look();
  }, [scroller, look, start, end, items.length, hasOlder]);

  useEffect(() => {
    if (!scroller) return;
    scroller.style.overflowAnchor = "none"; // two that hold on to a place move it
    const sizes = new ResizeObserver(settle);
    for (const element of [scroller, ...scroller.children]) sizes.observe(element);
    scroller.addEventListener("scroll", look, { passive: true });
    return () => (sizes.disconnect(), scroller.removeEventListener("scroll", look));
  }, [scroller, settle, look]);

  const toEnd = useCallback(() => {
    place.pinned = true;
    setFirst(null);
    setAtEnd(true);
    if (scroller) settle();
  }, [scroller, settle, place]);

  const toKey = useCallback((key) => {
    const { items, keyOf } = now.current;
    const at = items.findIndex((item) => keyOf(item) === key);
    if (at < 0) return false;
    place.wanted = key;
    place.pinned = false;
    setFirst(keyOf(items[Math.max(0, at - Math.ceil(size / 2))]));
    setAtEnd(false);
    if (scroller && elementOf(scroller, key)) settle();
    return true;
  }, [scroller, settle, size, place]);

  // What is sought is shown once; it may be far back.
  const seeking = useRef(null);
  useEffect(() => {
    seeking.current = sought ?? null;
  }, [sought]);
  useEffect(() => {
    if (seeking.current === null || !scroller || !items.length) return;
    if (toKey(seeking.current) || !hasOlder) seeking.current = null;
    else Promise.resolve(loadOlder?.(PAGE)).catch(() => {});
  }, [sought, scroller, items, hasOlder, toKey]);

  return { ref: setScroller, shown, atEnd, toEnd, toKey };
}

const elementOf = (scroller, key) => scroller.querySelector(`[data-key="${CSS.escape(key)}"]`);

/** The first item that is seen, and where. */
function anchorIn(scroller) {
  const { top } = scroller.getBoundingClientRect();
  for (const element of scroller.querySelectorAll("[data-key]")) {
    const box = element.getBoundingClientRect();
    if (box.bottom > top) return { key: element.dataset.key, top: box.top };
  }
  return null;
}
