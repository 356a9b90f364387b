// What is read from the states of parley-client's stores. Knows no React.
import { keyOf, senderOf } from "parley-client";

export const NOTHING = { connection: "connecting", error: null };
/** Before anything is known; `tests/clients` compares it with a store's own. */
export const NO_SESSIONS = { sessions: [], hasMore: false, total: 0, ...NOTHING };
export const NO_SESSION = {
  id: "", me: null, ...NOTHING, session: null, messages: [], hasOlder: false, pending: [], uploads: [], online: {},
  onlineCount: null, typing: [], readMarks: {}, users: {}, turns: [], outcomes: {},
};

/** `{ key, name, avatar_url }` of who is named by a key, as in `typing`, `online` and `readMarks`. */
export function named(key, users, session) {
  const [, kind, id] = /^(agent|service):(.*)$/s.exec(key) ?? [];
  const sender = { sender_type: { agent: "agent", service: "system" }[kind] ?? "user", sender_id: id ?? key };
  const { name, avatar_url } = senderOf({ users, session }, sender);
  return { key, name, avatar_url };
}

/** Milliseconds in which the answer to a question is awaited of which nothing was told: it is begun without a word. */
const ASKED = 60000;

/** Whether an answer is being written, or is about to be: what a button to stop is for. */
export function isAnswering({ messages, turns, outcomes, session }) {
  const last = messages.at(-1);
  if (last?.status === "streaming" || turns.some(({ state }) => state !== "waiting")) return true;
  const asked = last?.sender_type === "user" && !last.deleted_at && session?.agent && !outcomes[last.message_id];
  return Boolean(asked) && Date.now() - Date.parse(last.created_at) < ASKED;
}

/** Who has read up to this message, beside its sender and oneself. */
export function readersOf({ readMarks, me, users, session }, message) {
  const others = Object.keys(readMarks).filter((key) => key !== me && key !== keyOf(message));
  return others.filter((key) => readMarks[key] >= message.seq).map((key) => named(key, users, session));
}

/** `{ number, count, older, newer }`: the id of the version before and behind, for `session.select`; null: there is none. */
export function versionsOf({ message_id, siblings = [message_id] }) {
  const at = siblings.indexOf(message_id);
  return { number: at + 1, count: siblings.length, older: siblings[at - 1] ?? null, newer: siblings[at + 1] ?? null };
}
