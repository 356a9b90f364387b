// What a session's snapshots and events come to: functions from one state to the next. Pure; what did not change
// stays the same object. docs/protocol.md (4 to 6) and docs/turns.md say what each event means.
import { derived, grown, shaped } from "./parts.js";
import * as turning from "./turns.js";

/** What readers are shown. */
export const SHOWN = {
  session: null,
  messages: [], // the path, by seq
  hasOlder: false,
  online: {}, // user -> status
  onlineCount: null, // where very many are online
  typing: [],
  readMarks: {}, // user -> seq
  users: {}, // key -> { name, avatar_url }
  turns: [],
  outcomes: {}, // question -> why it has no answer
};

export const EMPTY = {
  ...SHOWN,
  aside: {}, // messages of other branches
  next: {}, // stream -> index of what comes next in it
  holes: [], // messages whose text lacks something
  revision: 0, // all that changed up to here is known
  newest: 0, // the highest revision that was told
  behind: false, // more pages of what changed are to come
  lineage: undefined,
  lastSeq: 0,
  branched: false,
  moved: false, // the next message may be a version of another one
  stale: false, // what is shown may not be the path any more
};

/** The reply to `join`, or a `welcome`. `resumed`: it was asked after our revision. */
export function joined(state, reply, resumed) {
  const keeps = resumed && !reply.reset;
  const branched = "head_id" in reply;
  let next = {
    ...(keeps ? state : EMPTY), turns: reply.turns,
    session: reply.session, lineage: reply.lineage, branched, moved: branched,
    online: Object.fromEntries(reply.online.map(({ user_id, status }) => [user_id, status])),
    onlineCount: null, typing: [], readMarks: reply.read_marks, next: {}, holes: [],
    stale: keeps && (state.stale || branched), // changes of all branches came
  };
  if (keeps) next = changed(next, reply);
  else {
    const { last_revision: revision, last_seq: lastSeq, has_more: hasOlder } = reply;
    next = read({ ...next, revision, newest: revision, lastSeq, hasOlder, messages: reply.messages.map(shaped) }, reply);
  }
  return reply.streams.reduce(opened, next);
}

/** A page of all that changed since our revision. */
export function changed(state, page) {
  state = page.messages.reduce(put, read(state, page));
  const seen = page.messages.at(-1)?.revision ?? 0;
  const revision = page.has_more ? Math.max(state.revision, seen) : Math.max(page.last_revision, state.newest);
  return { ...state, revision, newest: Math.max(revision, state.newest), behind: page.has_more, lastSeq: Math.max(state.lastSeq, page.last_seq) };
}

/** A page before the first message that is shown. */
export function older(state, page) {
  state = read(state, page);
  const shown = new Set(state.messages.map(({ message_id }) => message_id));
  const before = page.messages.filter(({ message_id }) => !shown.has(message_id)).map((message) => known(state, message));
  return { ...state, hasOlder: page.has_more, messages: [...before, ...state.messages].sort(bySeq) };
}

/** The newest page of the path, where the session has branches. What is known stays known. */
export function path(state, page) {
  state = read(state, page);
  const messages = page.messages.map((message) => known(state, message));
  const first = messages[0];
  const at = first ? place(state.messages, first.message_id) : -1;
  const before = at > 0 ? state.messages.slice(0, at) : [];
  const ids = new Set([...before, ...messages].map(({ message_id }) => message_id));
  const rest = [...state.messages, ...Object.values(state.aside)].filter(({ message_id }) => !ids.has(message_id));
  const since = rest.filter(({ seq }) => seq > page.last_seq).sort(bySeq); // told after the page was read
  const aside = rest.filter(({ seq }) => seq <= page.last_seq).map((message) => [message.message_id, message]);
  const next = {
    ...state, branched: true, messages: [...before, ...messages], aside: Object.fromEntries(aside),
    hasOlder: at >= 0 ? state.hasOlder : page.has_more, lastSeq: page.last_seq,
  };
  const told = since.reduce(put, next);
  return { ...told, lastSeq: Math.max(state.lastSeq, told.lastSeq) };
}

/** The text of a stream from its beginning, which was asked for because some of it was missing. */
export function refilled(state, message_id, { content, parts, status, next_index }) {
  const open = status === "streaming";
  state = { ...state, holes: state.holes.filter((id) => id !== message_id), next: open ? { ...state.next, [message_id]: next_index } : state.next };
  return change(state, message_id, (message) => ({ ...message, content, parts: parts ?? derived(content) }));
}

/** The connection went: nobody tells who goes on typing. */
export function away(state) {
  return state.typing.length ? { ...state, typing: [] } : state;
}

/** What the caller thinks of a message, which no event tells; the sums are the owner's. */
export function thought(state, { message_id, value, comment }) {
  return change(state, message_id, (message) => {
    const { value: before, comment: _, ...sums } = { ...(state.session?.role === "owner" && { up: 0, down: 0 }), ...message.feedback };
    if (before in sums) sums[before] -= 1;
    if (value in sums) sums[value] += 1;
    return { ...message, feedback: { ...sums, ...(value && { value }), ...(comment && { comment }) } };
  });
}

/** An event, by its name. */
export function event(state, name, data) {
  const tell = EVENTS[name];
  if (!tell) return state;
  if (data.user) state = learned(state, { [keyOf(data)]: data.user });
  if (data.revision > state.newest) state = { ...state, newest: data.revision, revision: state.behind ? state.revision : data.revision };
  return tell(state, data, name);
}

const EVENTS = {
  message: (state, data) => put(silent(state, keyOf(data)), data),
  message_updated: put,
  message_deleted: (state, data) => {
    const version = state.messages.some(({ siblings }) => siblings?.includes(data.message_id));
    state = put(turning.done(state, data.message_id), data);
    const { [data.message_id]: _, ...next } = state.next;
    return { ...state, next, stale: state.stale || version };
  },
  stream_start: begins,
  stream_chunk: grows,
  stream_delta: grows,
  stream_part: grows,
  stream_end: ends,
  agent_status: (state, { message_id, status, detail }) =>
    change(state, message_id, (message) => ({ ...message, doing: status ? { status, detail } : undefined })),
  turn: (state, data) => turning.told(state, data, find(state, data.message_id)?.seq),
  read: (state, { user_id, seq }) =>
    seq > (state.readMarks[user_id] ?? 0) ? { ...state, readMarks: { ...state.readMarks, [user_id]: seq } } : state,
  typing: (state, { user_id, is_typing }) => {
    const others = silent(state, user_id);
    return is_typing ? { ...others, typing: [...others.typing, user_id] } : others;
  },
  presence: (state, { user_id, status, online }) =>
    user_id === undefined ? { ...state, onlineCount: online } : present(state, user_id, status),
  system: (state, { event, user_id }) =>
    event === "user_left" ? present(state, user_id, "offline") : present(state, user_id, state.online[user_id] ?? "online"),
  session: (state, { event, title }) => {
    if (event === "head") return { ...state, branched: true, moved: true, stale: true };
    const told = event === "updated" ? title !== undefined && { title } : ["archived", "expired"].includes(event) && { status: event };
    return told && state.session ? { ...state, session: { ...state.session, ...told } } : state;
  },
};

// --- streams

function begins(state, { timestamp, ...start }) {
  const { message_id, reply_to, revision } = start;
  const old = find(state, message_id);
  if (old && (old.revision > revision || (old.revision === revision && message_id in state.next))) return state;
  if (reply_to) state = turning.begun(state, reply_to, message_id, find(state, reply_to)?.seq);
  state = { ...state, next: { ...state.next, [message_id]: 0 } };
  const fresh = { message_type: "stream", created_at: timestamp, is_edited: false, ...start, status: "streaming", content: "", parts: [] };
  if (!old) return put(state, fresh);
  // One that has waited is written on, and told anew from its beginning.
  return change(state, message_id, ({ doing, passing, ...message }) => ({ ...message, ...fresh, created_at: message.created_at }));
}

function grows(state, data, name) {
  const { message_id, index, count = 1 } = data;
  const next = state.next[message_id];
  if (find(state, message_id)?.status !== "streaming") return state;
  if (index + count <= next) return state; // known already
  if (index !== next) return hole(state, message_id);
  return change({ ...state, next: { ...state.next, [message_id]: index + count } }, message_id, (message) => grown(message, name, data));
}

function ends(state, { timestamp, session_id, content, parts, ...end }) {
  const { message_id, status, tokens_used, latency_ms } = end;
  const old = find(state, message_id);
  state = turning.answered(state, message_id, status);
  if (!old || old.revision > end.revision) return state;
  const { [message_id]: index, ...next } = state.next;
  const lacks = content === undefined && old.status === "streaming" && (index === undefined || state.holes.includes(message_id));
  state = { ...state, next, holes: state.holes.filter((id) => id !== message_id) };
  if (lacks) state = hole(state, message_id);
  return change(state, message_id, ({ doing, passing, ...message }) => ({
    ...message, ...end,
    ...(content !== undefined && { content, parts: parts ?? derived(content) }),
    metadata: { ...message.metadata, ...end.metadata, ...((tokens_used ?? latency_ms) != null && { tokens_used, latency_ms }) },
  }));
}

/** What `join` says of a stream that is open. */
function opened(state, { message_id, content, parts, next_index, agent_status: doing }) {
  if (!find(state, message_id)) return state;
  state = { ...state, next: { ...state.next, [message_id]: next_index } };
  return change(state, message_id, (message) => ({ ...message, content, parts: parts ?? derived(content), doing }));
}

function hole(state, message_id) {
  return state.holes.includes(message_id) ? state : { ...state, holes: [...state.holes, message_id] };
}

// --- messages

/** A message as it is now: in its place on the path, or aside where the path leads elsewhere. */
function put(state, message) {
  if (find(state, message.message_id)) return change(state, message.message_id, (old) => renewed(old, message));
  message = shaped(message);
  const { messages } = state;
  const [first, last] = [messages[0], messages.at(-1)];
  const branched = state.branched || "parent_id" in message;
  const lastSeq = Math.max(state.lastSeq, message.seq);
  if (branched && !follows(message, last, state.lastSeq)) {
    return { ...state, branched, lastSeq, stale: true, aside: { ...state.aside, [message.message_id]: message } };
  }
  if (!last || message.seq > last.seq) {
    return { ...state, branched, lastSeq, messages: [...messages, message], moved: false, stale: state.stale || state.moved };
  }
  if (message.seq < first.seq && state.hasOlder) return state; // of a page that was not asked for
  return { ...state, lastSeq, messages: [...messages, message].sort(bySeq) };
}

/** Whether it is the next of the path. */
function follows({ seq, parent_id }, last, lastSeq) {
  if (seq < lastSeq || seq < (last?.seq ?? 0)) return false;
  return parent_id === undefined ? (last?.seq ?? 0) === seq - 1 : parent_id === (last?.message_id ?? null);
}

/** One of a page of the path, which says who its siblings are, with what is known beyond it. */
function known(state, message) {
  const old = find(state, message.message_id);
  if (!old) return shaped(message);
  const { siblings, parent_id } = message;
  return renewed({ ...old, siblings, parent_id: parent_id ?? old.parent_id }, message);
}

/** `old` after `message` was read or told. Events say nothing of siblings and feedback. */
function renewed(old, message) {
  if (message.revision < old.revision) return old;
  const { siblings, parent_id, feedback, content, parts, doing, passing } = old;
  const kept = { siblings, parent_id, ...(feedback && !message.deleted_at && { feedback }) };
  const written = message.status === "streaming" && message.revision === old.revision;
  return shaped({ ...kept, ...message, ...(written && { content, parts, doing, passing }) });
}

export function find(state, message_id) {
  const at = place(state.messages, message_id);
  return at < 0 ? state.aside[message_id] : state.messages[at];
}

/** Where it is; what changes is mostly the newest. */
function place(messages, message_id) {
  let at = messages.length - 1;
  while (at >= 0 && messages[at].message_id !== message_id) at -= 1;
  return at;
}

function change(state, message_id, make) {
  const at = place(state.messages, message_id);
  const old = at < 0 ? state.aside[message_id] : state.messages[at];
  const message = old && make(old);
  if (message === old) return state;
  if (at < 0) return { ...state, aside: { ...state.aside, [message_id]: message } };
  const messages = state.messages.slice();
  messages[at] = message;
  return { ...state, messages };
}

const bySeq = (one, other) => one.seq - other.seq;

// --- people

/** What pages say beside their messages. Their turns may have gone on meanwhile. */
function read(state, { users, unanswered = [] }) {
  const open = new Set(state.turns.map(({ message_id }) => message_id));
  return turning.ended(learned(state, users), unanswered.filter(({ message_id }) => !open.has(message_id)));
}

function learned(state, users) {
  return users ? { ...state, users: { ...state.users, ...users } } : state;
}

function silent(state, user) {
  return state.typing.includes(user) ? { ...state, typing: state.typing.filter((each) => each !== user) } : state;
}

function present(state, user, status) {
  const { [user]: before, ...others } = state.online;
  if (status === "offline") return { ...silent(state, user), online: others };
  return before === status ? state : { ...state, online: { ...state.online, [user]: status } };
}

/** How people are named: who sent a message, or whom an event is about (docs/protocol.md, section 1). */
export function keyOf({ sender_type, sender_id, user_id }) {
  if (sender_id === undefined) return user_id;
  if (sender_type === "user") return /^(user|agent|service):/.test(sender_id) ? `user:${sender_id}` : sender_id;
  return `${sender_type === "agent" ? "agent" : "service"}:${sender_id}`;
}

/** Who sent a message: { key, name, avatar_url }. */
export function senderOf({ users, session }, message) {
  const key = keyOf(message);
  const agent = key === `agent:${session?.agent?.id}` ? session.agent : null;
  const { name, avatar_url = null } = users[key] ?? agent ?? {};
  return { key, name: name || message.sender_id, avatar_url };
}
