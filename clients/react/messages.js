"use client";
// A session's messages as rows of a page.
import { useMemo } from "react";
import { senderOf } from "parley-client";
import { useLongList } from "./longlist.js";
import { useReading, useSession } from "./sessions.js";
import { readersOf } from "./state.js";

const keyOf = (message) => message.message_id ?? message.client_message_id;
const dayOf = (message) => message && new Date(message.created_at).toDateString();

/** `{ state, session, rows, ref, atEnd, toEnd, readers }`: what is in the page of a session that may have thousands of
 * messages (`useLongList`), pending ones at its end. A row is `{ key, message, sender, mine, first, newDay }`: `first` of
 * several of one sender's. At the end they are read; `readers` have read all of it. */
export function useMessages(id, { sought, size } = {}) {
  const [state, session] = useSession(id);
  const { messages, pending, hasOlder, me } = state;
  const items = useMemo(() => [...messages, ...pending], [messages, pending]);
  const { shown, ...list } = useLongList(items, { keyOf, hasOlder, loadOlder: session?.loadOlder, sought, size });
  useReading(id, list.atEnd);
  const rows = shown.map((message, at) => {
    const before = shown[at - 1];
    const sender = senderOf(state, message);
    const newDay = dayOf(before) !== dayOf(message);
    return { key: keyOf(message), message, sender, mine: sender.key === me, newDay, first: newDay || senderOf(state, before).key !== sender.key };
  });
  return { state, session, rows, ...list, readers: messages.length ? readersOf(state, messages.at(-1)) : [] };
}
