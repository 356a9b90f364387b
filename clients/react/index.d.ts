// Hooks over parley-client. README.md beside this file shows how they are used.
import type { ComponentProps, ReactElement, ReactNode, RefCallback } from "react";
import type {
  AgentBrief, Connection, GiveAnswer, Hit, Interrupt, Message, Observable, Options, Parley, ParleyError, Part, Pending, SessionDetails, SessionState, SessionStore, SessionsState,
  SessionsStore,
} from "parley-client";

/** With a `client`, which is yours to close, or with the options of `createParley`: the client lives as long as this does
 *  then. Another user or another server is another one: `<ParleyProvider key={user} …>`. */
export function ParleyProvider(props: { children?: ReactNode } & ({ client: Parley } | ({ client?: undefined } & Options))): ReactElement;

/** The client of the `<ParleyProvider>` around: `parley.session(id)`, `parley.search(q)`, … */
export function useParley(): Parley;

/** `[state, session]`: what is shown, and what one does. With `select` the first is `select(state)`, and only another
 *  selection renders. Without an id: the empty state, and null. */
export function useSession(id: string): [SessionState, SessionStore];
export function useSession<T>(id: string, select: (state: SessionState) => T): [T, SessionStore];
export function useSession(id: string | null | undefined): [SessionState, SessionStore | null];
export function useSession<T>(id: string | null | undefined, select: (state: SessionState) => T): [T, SessionStore | null];

/** `[state, list]`: the sessions, newest activity first, and what one does with the list. */
export function useSessions(): [SessionsState, SessionsStore];
export function useSessions<T>(select: (state: SessionsState) => T): [T, SessionsStore];

/** Of a session or, without an id, of the page: `offline` only after `grace` milliseconds (1500). `reconnect` is for
 *  `refused`, when what `error` says is mended. */
export function useConnection(id?: string | null, grace?: number): { connection: Connection; error: ParleyError | null; reconnect: () => Promise<void> };

/** As `typing`, `online` and `readMarks` name them, with what they are called. */
export interface Named {
  key: string;
  name: string;
  avatar_url: string | null;
}

/** `[who types beside oneself, type]`: call `type()` at each key. */
export function useTyping(id: string | null | undefined): [Named[], (is_typing?: boolean) => void];

/** Oneself included. Of very many only `count` is known. */
export function usePresence(id: string | null | undefined): { online: (Named & { status: "online" | "away" })[]; count: number };

/** One is away when nobody has looked at the page for so many milliseconds (a minute). */
export function useAway(after?: number): void;

/** What is shown has been read, while somebody looks at the page and `enabled` is true, as it is at the list's end. */
export function useReading(id: string | null | undefined, enabled?: boolean): void;

export interface FileOnItsWay {
  id: string;
  name: string;
  type: string;
  size: number;
  /** Bytes of it that are on their way. */
  sent: number;
  status: "uploading" | "ready" | "failed";
  error: ParleyError | null;
  /** The address of a picture, in this page. */
  preview: string | null;
}

/** What a composer has beside its text. */
export function useUpload(id: string | null | undefined): {
  files: FileOnItsWay[];
  /** Uploads them at once. */
  add: (files: Iterable<File>) => void;
  remove: (id: string) => void;
  retry: (id: string) => void;
  /** The parts of those that are ready, for `send({ parts })`; they are no longer among `files`. */
  take: () => Extract<Part, { type: "file" }>[];
};

/** Files that are dropped or pasted anywhere in the page come to `add`; true while some are held over it. */
export function useDropped(add: (files: FileList) => void): boolean;

/** `[text, setText]`: what one has begun to write in a session, kept in this tab. */
export function useDraft(id: string): [string, (text: string) => void];

/** What writing is made of, for a page's own `<form>`, `<textarea>` and `<input type="file">`. Enter says it (not while a
 *  syllable of Korean is written), Escape stops the answer, the up arrow in an empty field is `onEditLast`. */
export function useComposer(id: string | null | undefined, told?: {
  onSent?: (text: string) => void;
  onEditLast?: () => void;
  onError?: (error: ParleyError) => void;
}): {
  text: string;
  files: FileOnItsWay[];
  ready: boolean;
  answering: boolean;
  /** Files are held over the page. */
  over: boolean;
  typing: Named[];
  form: { onSubmit: (event?: { preventDefault: () => void }) => void };
  field: Pick<ComponentProps<"textarea">, "value" | "onChange" | "onKeyDown">;
  picker: Pick<ComponentProps<"input">, "type" | "multiple" | "onChange">;
  stop: () => void;
  remove: (id: string) => void;
  retry: (id: string) => void;
};

/** Other words for a message: where an agent answers, another version, which is answered. */
export function useEdit(session: SessionStore, message: Message, told?: { onDone?: () => void; onError?: (error: ParleyError) => void }): {
  text: string;
  form: { onSubmit: (event: { preventDefault: () => void }) => void };
  field: Pick<ComponentProps<"textarea">, "value" | "onChange" | "onKeyDown">;
};

export interface Row {
  key: string;
  message: Message | Pending;
  sender: Named;
  mine: boolean;
  /** Of several of one sender's. */
  first: boolean;
  newDay: boolean;
}

/** What is in the page of a session that may have thousands of messages, pending ones at its end: each row in an element
 *  with `data-key={key}`, in an element with `ref`. At the end they are read; `readers` have read all of it. */
export function useMessages(id: string | null | undefined, more?: { sought?: string | null; size?: number }): {
  state: SessionState;
  session: SessionStore | null;
  rows: Row[];
  ref: RefCallback<HTMLElement>;
  atEnd: boolean;
  toEnd: () => void;
  toKey: (key: string) => boolean;
  readers: Named[];
};

/** What a session is, and who may do what in it. The last three are its owner's. */
export function useAbout(id: string): {
  details: SessionDetails | null;
  /** Else the agent's name; null: it has neither. */
  title: string | null;
  /** It is one's own. */
  owner: boolean;
  /** One may say something. */
  may: boolean;
  /** An agent answers. */
  asks: boolean;
  rename: (title: string) => Promise<SessionDetails>;
  invite: (user: string, role?: "member" | "viewer") => Promise<unknown>;
  archive: () => Promise<void>;
};

/** Whom one may ask; null until it is known. */
export function useAgents(): { agents: AgentBrief[] | null; error: ParleyError | null };

/** Signed addresses of a file, asked for again before they end; null until they are known. */
export function useFileUrl(file_id: string | null | undefined): { url: string | null; thumbnail_url: string | null; error?: ParleyError } | null;

/** Of all sessions, or of `session_id`. What came before stays until the answer is there. */
export function useSearch(q: string, more?: { session_id?: string; limit?: number }): {
  results: Hit[];
  hasMore: boolean;
  searching: boolean;
  error: ParleyError | null;
  loadMore: () => Promise<void>;
};

/** A result's snippet: what was looked for is `marked`. */
export function marksOf(hit: Hit): { text: string; marked: boolean }[];

/** What an answer waits for, as a form. */
export function askOf(interrupt: Interrupt): {
  /** `type` is an `<input>`'s. */
  fields: { name: string; label: string; type: "text" | "number" | "checkbox"; choices?: unknown[] }[];
  /** It wants a yes or no. */
  approves: boolean;
  /** What `session.answer` takes. */
  answer: (yes: boolean, values: FormData) => Pick<GiveAnswer, "status" | "payload">;
};

/** A list that ends with the newest and may have thousands: some of it is in the page, what one looks at stays where it
 *  is while others come before and behind it, and its end is followed while one is there. */
export function useLongList<T>(items: readonly T[], options: {
  keyOf: (item: T) => string;
  hasOlder?: boolean;
  /** Called near the beginning, while `hasOlder`, and until `sought` is there. */
  loadOlder?: (limit?: number) => unknown;
  /** The key of one that is shown once: of a link, of a search's result. */
  sought?: string | null;
  /** Items in the page at its end (60); twice as many elsewhere. */
  size?: number;
}): {
  /** For the scroller, whose children have the items. */
  ref: RefCallback<HTMLElement>;
  /** To render: each in an element with `data-key={keyOf(item)}`. */
  shown: T[];
  atEnd: boolean;
  toEnd: () => void;
  /** Shows one of `items`: false where it is none of them. */
  toKey: (key: string) => boolean;
};

/** A store of parley-client's, as the hooks above read it: `first` is its state before anything is known. */
export function useStore<S, T = S>(store: Observable<S>, select: ((state: S) => T) | undefined, first: S): T;

/** Who is named by a key, as in `typing`, `online` and `readMarks`. */
export function named(key: string, users: SessionState["users"], session: SessionState["session"]): Named;
/** Whether an answer is being written, or is about to be: what a button to stop is for. */
export function isAnswering(state: Pick<SessionState, "messages" | "turns" | "outcomes" | "session">): boolean;
/** Which version this is, and the ids beside it, for `session.select`. */
export function versionsOf(message: Message): { number: number; count: number; older: string | null; newer: string | null };
/** Who has read up to this message, beside its sender and oneself. */
export function readersOf(state: SessionState, message: Message): Named[];
