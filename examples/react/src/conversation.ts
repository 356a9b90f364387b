// A conversation as data: a snapshot that events carry on. Pure; knows neither React nor a socket.
import type { JoinReply, Message, ParleyEvents } from "../../../clients/parley-events";

export type Part = NonNullable<Message["parts"]>[number];

export interface Conversation {
  messages: Message[]; // by seq
  lastRevision: number;
  hasOlder: boolean;
  typing: string[];
  online: Record<string, "online" | "away">;
  readMarks: Record<string, number>;
  /** Streams that are being written: message id -> index of the next chunk. */
  streams: Record<string, number>;
}

export const EMPTY: Conversation = {
  messages: [],
  lastRevision: 0,
  hasOlder: false,
  typing: [],
  online: {},
  readMarks: {},
  streams: {},
};

type PieceName = "stream_chunk" | "stream_delta" | "stream_part";
type EventName = "message" | "message_updated" | "message_deleted" | "stream_start" | PieceName | "stream_end"
  | "typing" | "presence" | "read";
type Told<Names extends EventName> = { [Name in Names]: { type: Name; payload: Parameters<ParleyEvents[Name]>[0] } }[Names];

export type Action =
  | Told<EventName>
  | { type: "snapshot"; reply: JoinReply; resumed: boolean }
  | { type: "older"; messages: Message[]; hasOlder: boolean }
  | { type: "reset" };

export const EVENT_NAMES: EventName[] = [
  "message", "message_updated", "message_deleted", "stream_start", "stream_chunk", "stream_delta", "stream_part",
  "stream_end", "typing", "presence", "read",
];

function put(messages: Message[], ...changed: Message[]): Message[] {
  const byId = new Map(messages.map((message) => [message.message_id, message]));
  for (const message of changed) {
    const known = byId.get(message.message_id);
    if (!known || known.revision <= message.revision) byId.set(message.message_id, { ...known, parts: undefined, ...message });
  }
  return [...byId.values()].sort((a, b) => a.seq - b.seq);
}

/** `state` after an event, a snapshot or a page. */
export function reduce(state: Conversation, action: Action): Conversation {
  switch (action.type) {
    case "reset":
      return EMPTY;
    case "snapshot": {
      const { reply, resumed } = action;
      const open = Object.fromEntries(reply.streams.map((stream) => [stream.message_id, stream]));
      const messages = put(resumed ? state.messages : [], ...reply.messages).map((message) => {
        const stream = open[message.message_id];
        return stream ? { ...message, content: stream.content, parts: stream.parts } : message;
      });
      return {
        messages,
        lastRevision: reply.last_revision,
        hasOlder: resumed ? state.hasOlder : reply.has_more,
        typing: [],
        online: Object.fromEntries(reply.online.map(({ user_id, status }) => [user_id, status])),
        readMarks: reply.read_marks,
        streams: Object.fromEntries(reply.streams.map(({ message_id, next_index }) => [message_id, next_index])),
      };
    }
    case "older":
      return { ...state, messages: put(state.messages, ...action.messages), hasOlder: action.hasOlder };
    case "message":
    case "message_updated":
    case "message_deleted":
      return {
        ...state,
        messages: put(state.messages, action.payload),
        lastRevision: Math.max(state.lastRevision, action.payload.revision),
        typing: action.type === "message" ? without(state.typing, action.payload.sender_id) : state.typing,
      };
    case "stream_start": {
      const { timestamp, ...start } = action.payload;
      const message: Message = {
        ...start, message_type: "stream", content: "", status: "streaming", created_at: timestamp, is_edited: false,
      };
      return {
        ...state,
        messages: put(state.messages, message),
        lastRevision: Math.max(state.lastRevision, start.revision),
        streams: { ...state.streams, [start.message_id]: 0 },
      };
    }
    case "stream_chunk":
    case "stream_delta":
    case "stream_part": {
      const { message_id, index } = action.payload;
      if (state.streams[message_id] !== index) return state; // known already; or a hole, which the end fills
      const count = action.type === "stream_part" ? 1 : action.payload.count;
      return {
        ...state,
        messages: state.messages.map((message) => (message.message_id === message_id ? grown(message, action) : message)),
        streams: { ...state.streams, [message_id]: index + count },
      };
    }
    case "stream_end": {
      const { message_id, timestamp, session_id, ...end } = action.payload;
      const { [message_id]: _, ...streams } = state.streams;
      return {
        ...state,
        messages: state.messages.map((message) => (message.message_id === message_id ? ended(message, end) : message)),
        lastRevision: Math.max(state.lastRevision, end.revision),
        streams,
      };
    }
    case "typing": {
      const others = without(state.typing, action.payload.user_id);
      return { ...state, typing: action.payload.is_typing ? [...others, action.payload.user_id] : others };
    }
    case "presence": {
      if (!("user_id" in action.payload)) return state; // a count, where very many are online
      const { user_id, status } = action.payload;
      const { [user_id]: _, ...online } = state.online;
      return { ...state, online: status === "offline" ? online : { ...online, [user_id]: status } };
    }
    case "read": {
      const { user_id, seq } = action.payload;
      return { ...state, readMarks: { ...state.readMarks, [user_id]: Math.max(seq, state.readMarks[user_id] ?? 0) } };
    }
  }
}

/** A message after a piece of its stream. Of plain text there are no parts, and `content` is all. */
function grown(message: Message, piece: Told<PieceName>): Message {
  const content = message.content ?? "";
  const plain: Part[] = content ? [{ type: "text", id: "text", text: content }] : [];
  if (piece.type === "stream_part") {
    const { part } = piece.payload;
    if (part.type === "data" && part.transient) return message; // to be shown, and not to be kept
    const parts = replaced(message.parts ?? plain, part);
    return { ...message, parts, content: texts(parts) };
  }
  const text = piece.payload.content;
  if (piece.type === "stream_delta") return { ...message, parts: longer(message.parts ?? plain, piece.payload.part, text) };
  const { part = "text" } = piece.payload;
  const parts = message.parts ?? (part === "text" ? undefined : plain);
  return { ...message, content: content + text, parts: parts && longer(parts, part, text) };
}

/** The end carries the text, and with it the parts, where chunks may have been lost. */
function ended(message: Message, end: Partial<Message>): Message {
  return { ...message, ...(end.content !== undefined && { parts: undefined }), ...end };
}

function replaced(parts: Part[], part: Part): Part[] {
  return parts.some(({ id }) => id === part.id) ? parts.map((each) => (each.id === part.id ? part : each)) : [...parts, part];
}

function longer(parts: Part[], id: string, text: string): Part[] {
  const part: Part = parts.find((each) => each.id === id) ?? { type: "text", id, text: "" };
  if (part.type === "tool") return replaced(parts, { ...part, input_text: (part.input_text ?? "") + text });
  return part.type === "text" || part.type === "reasoning" ? replaced(parts, { ...part, text: part.text + text }) : parts;
}

function texts(parts: Part[]): string {
  return parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n\n");
}

function without(users: string[], user: string): string[] {
  return users.filter((each) => each !== user);
}
