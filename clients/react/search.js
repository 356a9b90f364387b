"use client";
// What was said, by its words.
import { useEffect, useState } from "react";
import { useParley } from "./provider.js";
import { plain } from "./text.js";

const NOTHING = { results: [], hasMore: false, searching: false, error: null, loadMore: () => Promise.resolve() };
/** Milliseconds without a key after which is asked. */
const QUIET = 200;

/** `{ results, hasMore, searching, error, loadMore }` for the words in `q`, of all sessions or of `session_id`; a letter
 * more asks anew, and what came before stays until the answer is there. */
export function useSearch(q, { session_id, limit } = {}) {
  const parley = useParley();
  const [found, setFound] = useState(NOTHING);
  const words = q.trim();
  useEffect(() => {
    if (!words) return setFound(NOTHING);
    let over = false;
    setFound((before) => ({ ...before, searching: true }));
    const ask = (cursor, before) =>
      parley.search(words, { session_id, limit, cursor }).then(
        ({ results, has_more, cursor: next }) => {
          if (over) return;
          const all = [...before, ...results];
          setFound({ ...NOTHING, results: all, hasMore: has_more, ...(has_more && { loadMore: () => ask(next, all) }) });
        },
        (error) => over || setFound((was) => ({ ...was, results: before, hasMore: false, searching: false, error })),
      );
    const timer = setTimeout(() => ask(undefined, []), QUIET);
    return () => ((over = true), clearTimeout(timer));
  }, [parley, words, session_id, limit]);
  return found;
}

/** A result's snippet as `[{ text, marked }]`: what was looked for is `marked`. */
export function marksOf({ snippet }) {
  return snippet.split(/<\/?mark>/).map((html, at) => ({ text: plain(html), marked: at % 2 === 1 }));
}
