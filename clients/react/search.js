"use client";
// What was said, by its words.
import { useEffect, useState } from "react";
import { useParley } from "./provider.js";

const NOTHING = { results: [], hasMore: false, searching: false, error: null };
/** Milliseconds without a key after which is asked. */
const QUIET = 200;

/** `{ results, hasMore, searching, error, loadMore }` for the words in `q`, of all sessions or of `session_id`; a letter
 * more asks anew, and what came before stays until the answer is there. */
export function useSearch(q, { session_id, limit } = {}) {
  const parley = useParley();
  const [found, setFound] = useState(NOTHING);
  const [more, setMore] = useState(null);
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
          setFound({ results: all, hasMore: has_more, searching: false, error: null });
          setMore(() => (has_more ? () => ask(next, all) : null));
        },
        (error) => over || setFound({ results: before, hasMore: false, searching: false, error }),
      );
    const timer = setTimeout(() => ask(undefined, []), QUIET);
    return () => ((over = true), clearTimeout(timer));
  }, [parley, words, session_id, limit]);
  return { ...found, loadMore: more ?? nothing };
}

const nothing = () => Promise.resolve();

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&#39;": "'" };

/** A result's snippet as `[{ text, marked }]`: what was looked for is `marked`. */
export function marksOf({ snippet }) {
  const text = (html) => html.replace(/&(?:amp|lt|gt|quot|#x27|#39);/g, (entity) => ENTITIES[entity]);
  return snippet.split(/<\/?mark>/).map((html, at) => ({ text: text(html), marked: at % 2 === 1 }));
}
