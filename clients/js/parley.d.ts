// A client of Parley: sessions as observable stores. README.md beside this file shows how it is used.
import type {
  AnswerReply, ChangedReply, EditedReply, FeedbackReply, GiveAnswer, Message as WireMessage, PageTool, Person,
  Problem, RegenerateReply, SelectReply, SendMessage, SentReply, Session as MadeSession, SessionDetails, StreamCancelReply, Turn as WireTurn,
} from "./parley-events.js";

export type * from "./parley-events.js";

/** Every failure. `code` is the server's, `UNAVAILABLE` for what the network did, `CANCELLED` for what was taken back, or `CLOSED` after `close`. */
export class ParleyError extends Error implements Problem {
  code: string;
  retryable: boolean;
  /** Milliseconds. */
  retry_after?: number;
  details?: unknown;
  next_index?: number;
}

export interface Observable<T> {
  /** The same object until something changes; what did not change in it stays the same object, too. */
  getSnapshot: () => T;
  /** Told after changes, once for all that came together. Returns what ends it. */
  subscribe: (listener: () => void) => () => void;
}

/** - `connecting`: for the first time
 *  - `online`
 *  - `offline`: it comes back by itself; `error` has the reason where it was told
 *  - `refused`: a person has to mend what `error` says, and then `reconnect` or `reopen`
 *  - `ended`: the session is archived or has expired: to be read, and nothing else */
export type Connection = "connecting" | "online" | "offline" | "refused" | "ended";

export type Part = NonNullable<WireMessage["parts"]>[number];

/** As history has it, with its parts also where it is one text. */
export interface Message extends Omit<WireMessage, "parts"> {
  parts: Part[];
  /** What its producer does while it writes nothing. */
  doing?: { status: string; detail?: string };
  /** The newest part that is shown and not kept. */
  passing?: Part;
}

/** What was said here and is not known to be committed. */
export interface Pending {
  client_message_id: string;
  session_id: string;
  sender_type: "user";
  sender_id: string | null;
  created_at: string;
  /** - `saving`: not kept over a reload yet, which takes a moment
   *  - `waiting`: kept, and sent as soon as that is possible; `error` says why it was not
   *  - `sending`
   *  - `sent`: committed; it is about to be one of `messages`
   *  - `failed`: refused, for the reason in `error`; `retry` or `discard` it */
  status: "saving" | "waiting" | "sending" | "sent" | "failed";
  content: string;
  parts: Part[];
  error: Problem | null;
}

export interface Upload {
  id: string;
  name: string;
  size: number;
  /** Bytes of it that are on their way. */
  sent: number;
}

/** A question that is open. `when_busy` is known where the server has said it. */
export type Turn = Omit<WireTurn, "when_busy"> & Partial<Pick<WireTurn, "when_busy">>;

export interface SessionState {
  id: string;
  /** One's own key; null before there is a token. */
  me: string | null;
  connection: Connection;
  error: ParleyError | null;
  session: SessionDetails | null;
  /** The path, by `seq`. `siblings` of a message are its versions, for `select`. */
  messages: Message[];
  hasOlder: boolean;
  /** In the order in which they are sent. */
  pending: Pending[];
  uploads: Upload[];
  online: Record<string, "online" | "away">;
  /** Where very many are online; else null. */
  onlineCount: number | null;
  typing: string[];
  readMarks: Record<string, number>;
  users: Record<string, Person>;
  turns: Turn[];
  /** Questions that were ended without an answer: by what. */
  outcomes: Record<string, string>;
}

export type Said = Omit<SendMessage, "session_id">;
type Busy = SendMessage["when_busy"];

/** Joined while somebody subscribes to it, and for some seconds more. */
export interface SessionStore extends Observable<SessionState> {
  readonly id: string;
  /** Shown at once, kept over a reload, sent once and in order. Resolves with the server's reply. */
  send: (said: string | Said) => Promise<SentReply>;
  /** A pending message that was refused, once more, behind all others. */
  retry: (client_message_id: string) => void;
  /** A pending message that was refused, or not tried yet. False where it may be at the server. */
  discard: (client_message_id: string) => boolean;
  /** An answer, or a question that has none yet, by its id; without one the newest. */
  stop: (message_id?: string) => Promise<StreamCancelReply | null>;
  /** With `branch` beside the old version, and answered anew. */
  edit: (message_id: string, content: string, more?: { branch?: boolean; reply?: boolean; when_busy?: Busy; tools?: PageTool[] }) => Promise<EditedReply>;
  remove: (message_id: string) => Promise<ChangedReply>;
  regenerate: (message_id: string, more?: { when_busy?: Busy; tools?: PageTool[] }) => Promise<RegenerateReply>;
  /** To everybody; with `exact` only up to this message. */
  select: (message_id: string, more?: { exact?: boolean }) => Promise<SelectReply>;
  /** The first answer counts: `CONFLICT` for a later one. */
  answer: (message_id: string, interrupt_id: string, given: Pick<GiveAnswer, "status" | "payload">) => Promise<AnswerReply>;
  feedback: (message_id: string, value: "up" | "down" | null, comment?: string) => Promise<FeedbackReply>;
  /** Call it at each key. */
  typing: (is_typing?: boolean) => void;
  /** All that is shown, or up to `seq`. */
  markRead: (seq?: number) => Promise<void>;
  loadOlder: (limit?: number) => Promise<void>;
  search: (q: string, more?: { limit?: number; cursor?: string }) => Promise<Found>;
  /** Uploads the file, and says it, with `message`; with `post: false` it uploads alone. `uploads` has how far it is. */
  upload: (file: Blob, more?: { message?: string; name?: string; post?: boolean } & Omit<Said, "content" | "parts">) => Promise<Uploaded>;
  /** Joins again; a session that has ended is opened by its owner. */
  reopen: () => Promise<void>;
}

export interface SessionLine {
  session_id: string;
  title: string | null;
  agent_id: number | null;
  agent_name: string | null;
  last_message: string | null;
  last_message_at: string | null;
  unread_count: number;
  status: "active" | "archived" | "expired";
}

export interface SessionsState {
  /** Newest activity first. */
  sessions: SessionLine[];
  hasMore: boolean;
  total: number;
  connection: Connection;
  error: ParleyError | null;
}

/** Live while somebody subscribes to it and there is a connection: Socket.IO's, or one of an open session. */
export interface SessionsStore extends Observable<SessionsState> {
  refresh: () => Promise<void>;
  loadMore: (limit?: number) => Promise<void>;
  create: (given?: { agent_id?: number; title?: string; metadata?: Record<string, unknown>; ttl_hours?: number }) => Promise<MadeSession>;
  update: (session_id: string, changes: { title?: string; metadata?: Record<string, unknown>; status?: "active" }) => Promise<SessionDetails>;
  archive: (session_id: string) => Promise<void>;
}

export interface Uploaded {
  file_id: string;
  file_url: string;
  thumbnail_url: string | null;
  file_info: { name: string; type: string; size: number };
  uploaded_at: string;
}

export interface Hit {
  kind: "message" | "session";
  session_id: string;
  session_title: string | null;
  message_id: string | null;
  seq: number | null;
  sender_type: WireMessage["sender_type"] | null;
  sender_id: string | null;
  sender_name: string | null;
  created_at: string;
  /** HTML: escaped text, and `<mark>`. */
  snippet: string;
}

export interface Found {
  results: Hit[];
  has_more: boolean;
  cursor: string | null;
}

export interface Parley {
  /** One's own key; null before there is a token. */
  readonly me: string | null;
  readonly sessions: SessionsStore;
  /** The store of a session: for one id always the same. */
  session: (session_id: string) => SessionStore;
  search: (q: string, more?: { session_id?: string; limit?: number; cursor?: string }) => Promise<Found>;
  /** Signed addresses of a file, for `<img>` and links: asked for again before they end. */
  fileUrl: (file_id: string) => Promise<{ url: string; thumbnail_url: string | null; expires_at: string }>;
  presence: (status: "online" | "away") => Promise<unknown>;
  /** What the stores do not have: a path of docs/protocol.md, with the token; errors are a `ParleyError`. */
  readonly rest: { call: (method: string, path: string, body?: unknown) => Promise<any> };
  /** After `refused`, with a fresh token. */
  reconnect: () => Promise<void>;
  /** For good: what one asks for afterwards is `CLOSED`. What is pending stays in the storage. */
  close: () => void;
}

/** Where pending messages outlive the page. */
export interface Storage {
  list: (box: string) => Kept[] | Promise<Kept[]>;
  put: (box: string, item: Kept) => unknown;
  remove: (box: string, id: string) => unknown;
}

/** JSON. */
export interface Kept {
  id: string;
  [field: string]: unknown;
}

export interface Options {
  /** Where Parley is, with its path; in a page its own origin. */
  url?: string;
  /** A token from your own backend: asked for a fresh one at each connect, and before one ends. */
  getToken: () => string | Promise<string>;
  /** `websocket` of `parley-client/websocket` or `sse` of `parley-client/sse`; else Socket.IO. */
  transport?: Transport;
  /** Else IndexedDB, or memory where there is none. */
  storage?: Storage;
  /** All that goes over the network goes through it: to be watched, cut, or led elsewhere. Else what is global. */
  network?: Network;
}

/** `WebSocket` is of the raw WebSocket's door alone, and `io` of Socket.IO's: the official client's function, or the
 * package's own. Without `XMLHttpRequest` an upload goes by `fetch`, and `uploads` does not tell how far it is. */
export interface Network {
  fetch: typeof fetch;
  WebSocket?: typeof WebSocket;
  XMLHttpRequest?: typeof XMLHttpRequest;
  io?: (url: string, options: object) => any;
}

declare const door: unique symbol;
/** One of this package's. */
export interface Transport {
  [door]: true;
}

export function createParley(options: Options): Parley;
export function memory(): Storage;
export function indexedDb(name?: string): Storage;
/** An id that nobody can guess, for `client_message_id`; also on a page that came over plain http. */
export function newId(): string;
/** How people are named everywhere (docs/protocol.md, section 1). */
export function keyOf(message: Pick<WireMessage, "sender_type" | "sender_id">): string;
export function senderOf(state: SessionState, message: Pick<WireMessage, "sender_type" | "sender_id">): { key: string; name: string; avatar_url: string | null };
