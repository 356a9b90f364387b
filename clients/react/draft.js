"use client";
// What one has begun to write, over a reload and while one looks elsewhere.
import { useCallback, useEffect, useState } from "react";

const keyOf = (id) => `parley.draft.${id}`;

/** `[text, setText]` of a session: kept in this tab. */
export function useDraft(id) {
  const [draft, setDraft] = useState({ id, text: "" });
  useEffect(() => setDraft({ id, text: sessionStorage.getItem(keyOf(id)) ?? "" }), [id]);
  const setText = useCallback(
    (text) => {
      setDraft({ id, text });
      if (text) sessionStorage.setItem(keyOf(id), text);
      else sessionStorage.removeItem(keyOf(id));
    },
    [id],
  );
  return [draft.id === id ? draft.text : "", setText];
}
