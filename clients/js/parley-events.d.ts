// Parley's commands and events for the official Socket.IO client. Generated: `make docs`.
//
//   import { io } from "socket.io-client";
//   import type { ParleySocket } from "./parley-events";
//   const socket: ParleySocket = io(url, { auth: { token } });
import type { Socket } from "socket.io-client";

/** A reply: what the command answers, or why it failed. */
export type Reply<T> = ({ ok: true } & T) | { ok: false; error: Problem };

export interface AgentBrief {
  id: number;
  name: string;
  avatar_url: string | null;
}

/** A worker's next piece of work; to be acked within five seconds. `fence` counts the hand-outs of a question: who gives it to `stream_start` is refused where a later one has been made. `tools`: of the page, that the question brings. */
export interface AgentRequest {
  session_id: string;
  message: Message;
  history: Message[];
  fence: number;
  resume?: ResumedAnswer;
  tools?: PageTool[];
}

/** Tell the room what the producer of a stream does, until it says otherwise or the stream ends; null: nothing. */
export interface AgentStatus {
  session_id: string;
  status: string | null;
  detail?: string | null;
  message_id?: string | null;
}

/** What a stream's producer does, until the next one or the stream's end; null: nothing. */
export interface AgentStatusTold {
  session_id: string;
  timestamp: string;
  message_id: string;
  status: string | null;
  detail?: string;
}

/** To the producer of an open answer (`message_id`): a question that came meanwhile. A `step` part whose `steered` names it takes it up. */
export interface AgentSteer {
  session_id: string;
  message_id: string;
  message: Message;
}

/** The answer that counts. `duplicate`: it had been given before. */
export interface AnswerReply {
  message_id: string;
  revision: number;
  interrupt_id: string;
  answer: InterruptAnswer;
  duplicate?: boolean;
}

/** The same with the answer, once there is one. */
export interface AskedInterrupt {
  id: string;
  reason: string;
  message?: string;
  tool_call_id?: string;
  response_schema?: Record<string, unknown>;
  expires_at?: string;
  answer?: InterruptAnswer;
}

/** The token of this connection ends soon: `auth_refresh` extends it. */
export interface AuthExpiring {
  expires_at: string;
  timestamp: string;
}

/** A new token of the same identity. */
export interface AuthRefresh {
  token: string;
}

export interface AuthRefreshReply {
  expires_at: string;
}

export interface ChangedReply {
  message_id: string;
  revision: number;
}

/** An application's own. `transient`: it is shown, and not kept. */
export interface Data {
  type: "data";
  id?: string;
  name: string;
  data: unknown;
  transient?: boolean;
}

/** Delete a message: its tombstone stays. */
export interface Delete {
  session_id: string;
  message_id: string;
}

/** The same of the text of a reasoning, or of a tool's input: of a `part` that is not text. */
export interface DeltaPiece {
  session_id: string;
  timestamp: string;
  message_id: string;
  part: string;
  content: string;
  index: number;
  count: number;
}

/** Nothing but `ok`. */
export interface Done {}

/** Change the content of one's own message; with `branch`, beside it: the other version is a message of its own, and is answered anew. The last four are of that alone. */
export interface Edit {
  session_id: string;
  message_id: string;
  content: string;
  branch?: boolean;
  client_message_id?: string | null;
  reply?: boolean;
  when_busy?: "interrupt" | "parallel" | "queue" | "reject" | "steer" | null;
  tools?: PageTool[] | null;
}

/** With `branch` the message is the new one, and the other fields tell of it. */
export interface EditedReply {
  message_id: string;
  revision: number;
  seq?: number;
  created_at?: string;
  duplicate?: boolean;
}

/** A failure that no reply could tell: of a `command` sent without an ack, or of the connection. */
export interface ErrorEvent {
  code: string;
  message: string;
  retryable: boolean;
  retry_after?: number;
  details?: unknown;
  /** with INDEX_CONFLICT */
  next_index?: number;
  command?: string;
}

/** `value` and `comment` are the caller's own; `up` and `down` count all readers'. */
export interface FeedbackGiven {
  value?: "down" | "up";
  comment?: string;
  up?: number;
  down?: number;
}

/** What one thinks of the message now. */
export interface FeedbackReply {
  message_id: string;
  value: "down" | "up" | null;
  comment: string | null;
}

export interface File {
  file_id: string;
  file_url: string;
  thumbnail_url: string | null;
  file_info: FileInfo;
}

export interface FileInfo {
  name: string;
  type: string;
  size: number;
}

/** A file of the session, or one that lies elsewhere. */
export interface FilePart {
  type: "file";
  id?: string;
  file_id?: string;
  url?: string;
  media_type?: string;
  name?: string;
}

/** Answer what a message waits for: the first answer counts. `payload` as its `response_schema` says. */
export interface GiveAnswer {
  session_id: string;
  message_id: string;
  interrupt_id: string;
  status: "cancelled" | "resolved";
  payload?: unknown;
  client_message_id?: string | null;
}

/** Say what one thinks of another's message; `null` takes it back. */
export interface GiveFeedback {
  session_id: string;
  message_id: string;
  value: "down" | "up" | null;
  comment?: string | null;
}

/** A page of messages: of the path, where the session has branches; with `tree`, of all branches. `before` and `after` are RFC 3339 times. */
export interface History {
  session_id: string;
  limit?: number;
  before_seq?: number | null;
  after_seq?: number | null;
  before?: string | null;
  after?: string | null;
  order?: "asc" | "desc" | null;
  after_revision?: number | null;
  lineage?: string | null;
  tree?: boolean;
}

/** `turns`: the session's open ones; `unanswered`, where there are some: those of the page, the newest hundred. `head_id`: where the path ends, if the session has branches. With `tree: true` the messages are in `tree`, those of all branches. */
export interface HistoryReply {
  messages: Message[];
  turns: Turn[];
  has_more: boolean;
  total: number;
  last_seq: number;
  last_revision: number;
  lineage: string;
  users?: Record<string, Person>;
  reset?: boolean;
  head_id?: string | null;
  tree?: MessageNode[];
  unanswered?: Unanswered[];
}

/** What a message asks of people before it goes on. `response_schema` is a JSON Schema of the answer's `payload`; `expires_at` an RFC 3339 time. */
export interface Interrupt {
  id: string;
  reason: string;
  message?: string;
  tool_call_id?: string;
  response_schema?: Record<string, unknown>;
  expires_at?: string;
}

/** What was answered, and by whom; `why` where nobody did: its time was over, or the message was stopped. */
export interface InterruptAnswer {
  status: "cancelled" | "resolved";
  answered_at: string;
  payload?: unknown;
  user_id?: string;
  client_message_id?: string;
  why?: "expired" | "stopped";
}

/** Become a member of the session's room; the reply is a snapshot that live events carry on. */
export interface Join {
  session_id: string;
  after_revision?: number | null;
  limit?: number;
  lineage?: string | null;
}

/** A snapshot that live events carry on without a gap. `head_id`: where the path ends, if the session has branches. `unanswered`: where there are some, the newest hundred. */
export interface JoinReply {
  session: SessionDetails;
  messages: Message[];
  has_more: boolean;
  last_seq: number;
  last_revision: number;
  position: string;
  online: Online[];
  read_marks: Record<string, number>;
  streams: OpenStream[];
  turns: Turn[];
  lineage: string;
  users?: Record<string, Person>;
  reset?: boolean;
  head_id?: string;
  unanswered?: Unanswered[];
}

/** Leave the session's room. */
export interface Leave {
  session_id: string;
}

/** A message as history, `join` and events show it. Times are RFC 3339 UTC. */
export interface Message {
  message_id: string;
  session_id: string;
  seq: number;
  revision: number;
  sender_type: "agent" | "system" | "user";
  sender_id: string;
  message_type: "file" | "stream" | "system" | "text";
  content: string | null;
  metadata: Record<string, unknown>;
  status: "cancelled" | "complete" | "failed" | "interrupted" | "streaming" | "waiting";
  created_at: string;
  is_edited: boolean;
  client_message_id?: string | null;
  reply_to?: string | null;
  tokens_used?: number | null;
  latency_ms?: number | null;
  error?: Record<string, unknown> | null;
  edited_at?: string | null;
  deleted_at?: string | null;
  finish_reason?: "content_filter" | "error" | "length" | "other" | "stop" | "tool_calls";
  usage?: Usage;
  model?: string;
  parts?: (Text | Reasoning | Tool | Source | FilePart | Data | Step)[];
  files?: File[];
  interrupts?: AskedInterrupt[];
  parent_id?: string | null;
  siblings?: string[];
  feedback?: FeedbackGiven;
  user?: Person;
  timestamp?: string;
}

/** A message and what it follows; null: it is the first. */
export interface MessageNode {
  message: Message;
  parent_id: string | null;
}

/** A user who is online, with how many connections. */
export interface Online {
  user_id: string;
  status: "away" | "online";
  connections: number;
}

/** A stream that is being written: its text so far, its parts where there are others, the index of its next chunk, and what its producer does, where it said so. */
export interface OpenStream {
  message_id: string;
  content: string;
  next_index: number;
  parts?: (Text | Reasoning | Tool | Source | FilePart | Data | Step)[];
  agent_status?: ProducerDoes;
}

/** A tool of the page: it is told the call's arguments, and answers with what it gives. `parameters` is a JSON Schema of an object. */
export interface PageTool {
  name: string;
  description?: string;
  parameters?: Record<string, unknown>;
  title?: string | null;
}

/** A part as it is now: it takes the place of the one with its id, or is the message's next. */
export interface PartPiece {
  session_id: string;
  timestamp: string;
  message_id: string;
  part: Text | Reasoning | Tool | Source | FilePart | Data | Step;
  index: number;
}

/** What a user or an agent is called, and its picture's address. A user's are those of its last token that said one of them. */
export interface Person {
  name: string | null;
  avatar_url: string | null;
}

/** Post a file that was uploaded with `post=false`. */
export interface PostFile {
  session_id: string;
  file_id: string;
  message?: string | null;
  client_message_id?: string | null;
  reply?: boolean;
  when_busy?: "interrupt" | "parallel" | "queue" | "reject" | "steer" | null;
}

/** Set this connection's status in all its rooms. */
export interface Presence {
  status: "away" | "online";
}

/** A user's status over all connections. */
export interface PresenceChanged {
  session_id: string;
  timestamp: string;
  user_id: string;
  status: "away" | "offline" | "online";
}

/** How many are online, in place of single events, where they are many. */
export interface PresenceCount {
  session_id: string;
  timestamp: string;
  online: number;
}

/** Why a command failed. `retry_after` in milliseconds. */
export interface Problem {
  code: string;
  message: string;
  retryable: boolean;
  retry_after?: number;
  details?: unknown;
  /** with INDEX_CONFLICT */
  next_index?: number;
}

/** What a stream's producer said that it does, such as "thinking", "calling_tool", "searching". */
export interface ProducerDoes {
  status: string;
  detail?: string;
}

/** Mark everything up to `seq` as read. */
export interface Read {
  session_id: string;
  seq: number;
}

/** A user has read everything up to `seq`. */
export interface ReadMark {
  session_id: string;
  timestamp: string;
  user_id: string;
  seq: number;
}

export interface ReadReply {
  unread_count: number;
}

/** What a model thought. `provider_metadata` is opaque, and goes back to the model alone. */
export interface Reasoning {
  type: "reasoning";
  id?: string;
  text: string;
  provider_metadata?: Record<string, unknown>;
}

/** Answer a question anew, named by itself or by its answer: the new answer stands beside the old one. `tools` come in place of those that the question brought. */
export interface Regenerate {
  session_id: string;
  message_id: string;
  when_busy?: "interrupt" | "parallel" | "queue" | "reject" | "steer" | null;
  tools?: PageTool[] | null;
}

/** The question, and where the path ends: the answer follows there. `duplicate`: it is being answered already. */
export interface RegenerateReply {
  message_id: string;
  head_id: string;
  duplicate?: boolean;
}

/** An answer that has waited: `interrupts` with what was answered, `content` and `parts` as they are, `usage` so far, `steered` the questions that it took up on its way. `stream_start` with `message_id` and the request's `fence` goes on with it, from `next_index`. */
export interface ResumedAnswer {
  message_id: string;
  next_index: number;
  interrupts: AskedInterrupt[];
  content: string;
  parts?: (Text | Reasoning | Tool | Source | FilePart | Data | Step)[];
  usage?: Usage;
  steered?: Message[];
}

/** Lead the session's path through a message, to the newest one behind it; with `exact`, only up to it. */
export interface Select {
  session_id: string;
  message_id: string;
  exact?: boolean;
}

/** Where the path ends now. */
export interface SelectReply {
  head_id: string;
}

/** Send a message: text, or `parts`, of which `content` follows. The reply says that it is committed. `tools`: those of the page that its answer may call. */
export interface SendMessage {
  session_id: string;
  content?: string;
  client_message_id?: string | null;
  message_type?: "system" | "text" | null;
  metadata?: Record<string, unknown> | null;
  reply_to?: string | null;
  reply?: boolean;
  parts?: (Text | FilePart | Data)[] | null;
  when_busy?: "interrupt" | "parallel" | "queue" | "reject" | "steer" | null;
  tools?: PageTool[] | null;
}

/** The message is committed. `duplicate`: it was already, under this id. */
export interface SentReply {
  message_id: string;
  seq: number;
  created_at: string;
  duplicate?: boolean;
}

/** A session as its creation answers it. */
export interface Session {
  session_id: string;
  trace_id: string;
  user_id: string;
  agent_id: number | null;
  title: string | null;
  status: "active" | "archived" | "deleted" | "expired";
  metadata: Record<string, unknown>;
  created_at: string;
  expires_at: string;
}

/** Something happened in a session whose room this connection has not joined; once a second at most. */
export interface SessionActivity {
  session_id: string;
  timestamp: string;
  event: "activity";
  last_message: string;
  last_message_at: string;
  last_seq: number;
  unread_count?: number;
}

/** One has become a participant of a session; to one's connections that have not joined its room. */
export interface SessionAdded {
  session_id: string;
  timestamp: string;
  event: "added";
  title: string | null;
  role: "agent" | "member" | "owner" | "service" | "viewer";
  session: Session;
}

/** The session has changed, or this connection's membership has ended. */
export interface SessionChanged {
  session_id: string;
  timestamp: string;
  event: "archived" | "expired" | "head" | "removed" | "reset" | "updated";
  title?: string | null;
  user_id?: string;
  user?: Person;
  last_revision?: number;
  head_id?: string;
}

/** A session as `join` and `GET` show it. `role` is the caller's own in it; `created_via`, `ip_address`, `user_agent` are shown to owner and service alone, `users` by `GET` (`join` has them beside it). */
export interface SessionDetails {
  session_id: string;
  trace_id: string;
  user_id: string;
  agent_id: number | null;
  title: string | null;
  status: "active" | "archived" | "deleted" | "expired";
  metadata: Record<string, unknown>;
  created_at: string;
  expires_at: string;
  updated_at: string;
  agent: AgentBrief | null;
  participants: string[];
  participant_roles: Record<string, "agent" | "member" | "owner" | "service" | "viewer">;
  participant_count: number;
  message_count: number;
  request_count: number;
  last_seq: number;
  last_revision: number;
  last_activity: string;
  role: "agent" | "member" | "owner" | "service" | "viewer";
  created_via?: string | null;
  ip_address?: string | null;
  user_agent?: string | null;
  users?: Record<string, Person>;
}

/** One is no participant of a session any more; to one's connections that have not joined its room. */
export interface SessionTakenAway {
  session_id: string;
  timestamp: string;
  event: "removed";
  user_id: string;
}

/** What an answer refers to: a `url`, or a file of the session. */
export interface Source {
  type: "source";
  id?: string;
  url?: string;
  file_id?: string;
  title?: string;
  media_type?: string;
  snippet?: string;
}

/** A new call of the model begins. `steered`: the questions that the answer took up with it. */
export interface Step {
  type: "step";
  id?: string;
  steered?: string[];
}

/** Stop an answer, named by itself or by its question, also before it begins; the text so far is kept. */
export interface StreamCancel {
  session_id: string;
  message_id: string;
}

export interface StreamCancelReply {
  status: "cancelled" | "complete" | "failed" | "interrupted" | "streaming" | "waiting";
}

/** To the producer: somebody wants this stream stopped; to an agent's workers also with the id of a question that needs no answer any more. */
export interface StreamCancelled {
  session_id: string;
  timestamp: string;
  message_id: string;
}

/** The next piece of a stream's text. Empty content renews the lease. `part` names the text part: the last one, or a new one. */
export interface StreamChunk {
  session_id: string;
  content: string;
  message_id?: string | null;
  index?: number | null;
  part?: string | null;
}

export interface StreamChunkReply {
  next_index: number;
}

/** The next piece of a stream, of the text of a reasoning or of a tool's input. */
export interface StreamDelta {
  session_id: string;
  part: string;
  content: string;
  message_id?: string | null;
  index?: number | null;
}

/** The stream is finished; its text is committed. `index` is how many pieces it has: with fewer known, it goes on. */
export interface StreamEnd {
  session_id: string;
  message_id?: string | null;
  index?: number | null;
  status?: "cancelled" | "complete" | "failed" | "interrupted";
  tokens_used?: number | null;
  latency_ms?: number | null;
  error?: StreamError | null;
  finish_reason?: "content_filter" | "error" | "length" | "other" | "stop" | "tool_calls" | null;
  usage?: Usage | null;
  model?: string | null;
  metadata?: Record<string, unknown> | null;
}

/** The message is written, or waits for people (`interrupts`). `content` is the whole text, and `parts` all of it, for readers that may lack chunks. */
export interface StreamEnded {
  session_id: string;
  timestamp: string;
  message_id: string;
  status: "cancelled" | "complete" | "failed" | "interrupted" | "waiting";
  tokens_used: number | null;
  latency_ms: number | null;
  revision: number;
  error?: Record<string, unknown>;
  content?: string;
  finish_reason?: "content_filter" | "error" | "length" | "other" | "stop" | "tool_calls";
  usage?: Usage;
  model?: string;
  metadata?: Record<string, unknown>;
  parts?: (Text | Reasoning | Tool | Source | FilePart | Data | Step)[];
  interrupts?: AskedInterrupt[];
}

/** Why a stream failed. */
export interface StreamError {
  code: string;
  message?: string;
}

/** The next piece of a stream: a whole part. It is new, or takes the place of the one with its id. */
export interface StreamPart {
  session_id: string;
  part: Text | Reasoning | Tool | Source | FilePart | Data | Step;
  message_id?: string | null;
  index?: number | null;
}

/** `part_id` is the part's id, also where it was given one. */
export interface StreamPartReply {
  next_index: number;
  part_id: string;
}

/** `count` chunks, merged into one; the next begins at `index + count`. `part` is the text part, where there may be several. */
export interface StreamPiece {
  session_id: string;
  timestamp: string;
  message_id: string;
  content: string;
  index: number;
  count: number;
  part?: string;
}

/** The text of a stream from a chunk index on. */
export interface StreamResume {
  session_id: string;
  message_id: string;
  from_index?: number;
}

/** `index` is that of the first chunk in `content`. `parts` are all so far, where there are others than text. */
export interface StreamResumeReply {
  content: string;
  index: number;
  next_index: number;
  status: "cancelled" | "complete" | "failed" | "interrupted" | "streaming" | "waiting";
  parts?: (Text | Reasoning | Tool | Source | FilePart | Data | Step)[];
}

/** Begin a message that is written in chunks. */
export interface StreamStart {
  session_id: string;
  message_id?: string | null;
  client_message_id?: string | null;
  metadata?: Record<string, unknown> | null;
  reply_to?: string | null;
  fence?: number | null;
}

/** `next_index` is the index of the chunk to send next; `status` comes with `duplicate`. */
export interface StreamStartReply {
  message_id: string;
  seq: number;
  revision: number;
  next_index: number;
  duplicate?: boolean;
  status?: "cancelled" | "complete" | "failed" | "interrupted" | "streaming" | "waiting";
}

/** A message begins to be written. One that has waited is told again from its beginning. */
export interface StreamStarted {
  session_id: string;
  timestamp: string;
  message_id: string;
  seq: number;
  revision: number;
  sender_type: "agent" | "system" | "user";
  sender_id: string;
  metadata: Record<string, unknown>;
  reply_to: string | null;
  parent_id?: string | null;
}

/** The stream ends, and its message waits for people: for an `answer` to each of `interrupts`. For answers to questions alone. `index` as at the end. */
export interface StreamWait {
  session_id: string;
  interrupts: Interrupt[];
  message_id?: string | null;
  index?: number | null;
}

/** `status` is "waiting", unless something else was faster. */
export interface StreamWaitReply {
  message_id: string;
  revision: number;
  status: "cancelled" | "complete" | "failed" | "interrupted" | "streaming" | "waiting";
}

/** What people read. */
export interface Text {
  type: "text";
  id?: string;
  text: string;
}

/** A call of a tool. `input_text` is its input while that is written. */
export interface Tool {
  type: "tool";
  id?: string;
  tool_call_id: string;
  name: string;
  title?: string;
  input_text?: string;
  input?: unknown;
  output?: unknown;
  error?: string | Record<string, unknown>;
  state: "approval_requested" | "approval_responded" | "input_available" | "input_streaming" | "output_available" | "output_denied" | "output_error";
  executed_by?: "agent" | "client" | "provider";
  provider_metadata?: Record<string, unknown>;
}

/** A question (`message_id`, `seq`) and how far its answer is (docs/turns.md). */
export interface Turn {
  message_id: string;
  seq: number;
  state: "done" | "queued" | "running" | "waiting";
  when_busy: "interrupt" | "parallel" | "queue" | "reject" | "steer";
  answer_id?: string;
  outcome?: string;
}

/** A question waits for its turn, was taken up by an open answer, or will not be answered. That it is being answered by one of its own tells the stream that replies to it. */
export interface TurnChanged {
  session_id: string;
  timestamp: string;
  message_id: string;
  state: "done" | "queued" | "running" | "waiting";
  when_busy: "interrupt" | "parallel" | "queue" | "reject" | "steer";
  answer_id?: string;
  outcome?: string;
}

/** A page of questions to the session's agent, and how far their answers are; the newest first. */
export interface Turns {
  session_id: string;
  before_seq?: number | null;
  limit?: number;
}

/** The newest first. */
export interface TurnsReply {
  turns: Turn[];
  has_more: boolean;
}

/** Tell the others that one is, or is no longer, typing. */
export interface Typing {
  session_id: string;
  is_typing: boolean;
}

/** A user is, or is no longer, typing. */
export interface TypingChanged {
  session_id: string;
  timestamp: string;
  user_id: string;
  is_typing: boolean;
}

/** A question that ended without an answer: `cancelled`, or `failed`. */
export interface Unanswered {
  message_id: string;
  outcome: string;
}

/** Tokens that an answer cost, as far as its producer knows. */
export interface Usage {
  input_tokens?: number | null;
  output_tokens?: number | null;
  total_tokens?: number | null;
  reasoning_tokens?: number | null;
  cached_input_tokens?: number | null;
  cache_write_input_tokens?: number | null;
}

/** A user's first connection came, or the last one is gone. */
export interface UserCameOrWent {
  session_id: string;
  timestamp: string;
  event: "user_joined" | "user_left";
  user_id: string;
  user?: Person;
}

/** What a raw WebSocket and an event stream begin with. */
export interface Welcome {
  session: SessionDetails;
  messages: Message[];
  has_more: boolean;
  last_seq: number;
  last_revision: number;
  position: string;
  online: Online[];
  read_marks: Record<string, number>;
  streams: OpenStream[];
  turns: Turn[];
  lineage: string;
  users?: Record<string, Person>;
  reset?: boolean;
  head_id?: string;
  unanswered?: Unanswered[];
  connection_id: string;
  recovered: boolean;
}

/** Every code of a `Problem`. */
export type ErrorCode =
  | "VALIDATION_ERROR"
  | "UNKNOWN_COMMAND"
  | "UNAUTHORIZED"
  | "TOKEN_EXPIRED"
  | "FORBIDDEN"
  | "ORIGIN_NOT_ALLOWED"
  | "SESSION_NOT_FOUND"
  | "SESSION_EXPIRED"
  | "SESSION_ARCHIVED"
  | "MESSAGE_NOT_FOUND"
  | "STREAM_NOT_FOUND"
  | "FILE_NOT_FOUND"
  | "AGENT_NOT_FOUND"
  | "WEBHOOK_NOT_FOUND"
  | "MESSAGE_REJECTED"
  | "CONFLICT"
  | "AGENT_BUSY"
  | "STREAM_OPEN"
  | "STREAM_CLOSED"
  | "INDEX_CONFLICT"
  | "PAYLOAD_TOO_LARGE"
  | "LIMIT_REACHED"
  | "UNSUPPORTED_FILE_TYPE"
  | "RATE_LIMIT"
  | "SLOW_CONSUMER"
  | "AGENT_UNAVAILABLE"
  | "UNAVAILABLE"
  | "SERVER_FULL"
  | "INTERNAL";

/** What the server sends: `socket.on(name, payload => …)`. */
export interface ParleyEvents {
  /** A message was sent. Durable. */
  message: (payload: Message) => void;
  /** A message was changed. Durable. */
  message_updated: (payload: Message) => void;
  /** A message was deleted: its tombstone. Durable. */
  message_deleted: (payload: Message) => void;
  /** A message begins to be written. Durable. */
  stream_start: (payload: StreamStarted) => void;
  /** The message is written, or waits for people (`interrupts`). Durable. */
  stream_end: (payload: StreamEnded) => void;
  /** `count` chunks, merged into one; the next begins at `index + count`. Logged. */
  stream_chunk: (payload: StreamPiece) => void;
  /** The same of the text of a reasoning, or of a tool's input: of a `part` that is not text. Logged. */
  stream_delta: (payload: DeltaPiece) => void;
  /** A part as it is now: it takes the place of the one with its id, or is the message's next. Logged. */
  stream_part: (payload: PartPiece) => void;
  /** A question waits for its turn, was taken up by an open answer, or will not be answered. Logged. */
  turn: (payload: TurnChanged) => void;
  /** A user has read everything up to `seq`. Logged. */
  read: (payload: ReadMark) => void;
  /** The session has changed, or this connection's membership has ended. Logged. */
  session: (payload: SessionChanged | SessionActivity | SessionAdded | SessionTakenAway) => void;
  /** A user's first connection came, or the last one is gone. Volatile. */
  system: (payload: UserCameOrWent) => void;
  /** A user's status over all connections. Volatile. */
  presence: (payload: PresenceChanged | PresenceCount) => void;
  /** A user is, or is no longer, typing. Volatile. */
  typing: (payload: TypingChanged) => void;
  /** What a stream's producer does, until the next one or the stream's end; null: nothing. Volatile. */
  agent_status: (payload: AgentStatusTold) => void;
  /** A worker's next piece of work; to be acked within five seconds. Direct. */
  agent_request: (payload: AgentRequest, ack: () => void) => void;
  /** To the producer of an open answer (`message_id`): a question that came meanwhile. Direct. */
  agent_steer: (payload: AgentSteer) => void;
  /** To the producer: somebody wants this stream stopped; to an agent's workers also with the id of a question that needs no answer any more. Direct. */
  stream_cancel: (payload: StreamCancelled) => void;
  /** The token of this connection ends soon: `auth_refresh` extends it. Direct. */
  auth_expiring: (payload: AuthExpiring) => void;
  /** A failure that no reply could tell: of a `command` sent without an ack, or of the connection. Direct. */
  error: (payload: ErrorEvent) => void;
}

/** What a client sends: `await socket.emitWithAck(name, payload)`. Take `join` in with a callback:
 *  what follows its reply may be handled before an `await` goes on. */
export interface ParleyCommands {
  /** Become a member of the session's room; the reply is a snapshot that live events carry on. */
  join: (payload: Join, ack: (reply: Reply<JoinReply>) => void) => void;
  /** Leave the session's room. */
  leave: (payload: Leave, ack?: (reply: Reply<Done>) => void) => void;
  /** Send a message: text, or `parts`, of which `content` follows. */
  message: (payload: SendMessage, ack: (reply: Reply<SentReply>) => void) => void;
  /** Change the content of one's own message; with `branch`, beside it: the other version is a message of its own, and is answered anew. */
  edit: (payload: Edit, ack: (reply: Reply<EditedReply>) => void) => void;
  /** Answer a question anew, named by itself or by its answer: the new answer stands beside the old one. */
  regenerate: (payload: Regenerate, ack: (reply: Reply<RegenerateReply>) => void) => void;
  /** Lead the session's path through a message, to the newest one behind it; with `exact`, only up to it. */
  select: (payload: Select, ack: (reply: Reply<SelectReply>) => void) => void;
  /** Delete a message: its tombstone stays. */
  delete: (payload: Delete, ack: (reply: Reply<ChangedReply>) => void) => void;
  /** Post a file that was uploaded with `post=false`. */
  file: (payload: PostFile, ack: (reply: Reply<SentReply>) => void) => void;
  /** Tell the others that one is, or is no longer, typing. */
  typing: (payload: Typing, ack?: (reply: Reply<Done>) => void) => void;
  /** Set this connection's status in all its rooms. */
  presence: (payload: Presence, ack?: (reply: Reply<Done>) => void) => void;
  /** Mark everything up to `seq` as read. */
  read: (payload: Read, ack?: (reply: Reply<ReadReply>) => void) => void;
  /** A page of messages: of the path, where the session has branches; with `tree`, of all branches. */
  history: (payload: History, ack: (reply: Reply<HistoryReply>) => void) => void;
  /** Say what one thinks of another's message; `null` takes it back. */
  feedback: (payload: GiveFeedback, ack: (reply: Reply<FeedbackReply>) => void) => void;
  /** A page of questions to the session's agent, and how far their answers are; the newest first. */
  turns: (payload: Turns, ack: (reply: Reply<TurnsReply>) => void) => void;
  /** Begin a message that is written in chunks. */
  stream_start: (payload: StreamStart, ack: (reply: Reply<StreamStartReply>) => void) => void;
  /** The next piece of a stream's text. */
  stream_chunk: (payload: StreamChunk, ack?: (reply: Reply<StreamChunkReply>) => void) => void;
  /** The next piece of a stream, of the text of a reasoning or of a tool's input. */
  stream_delta: (payload: StreamDelta, ack?: (reply: Reply<StreamChunkReply>) => void) => void;
  /** The next piece of a stream: a whole part. */
  stream_part: (payload: StreamPart, ack?: (reply: Reply<StreamPartReply>) => void) => void;
  /** The stream ends, and its message waits for people: for an `answer` to each of `interrupts`. */
  stream_wait: (payload: StreamWait, ack: (reply: Reply<StreamWaitReply>) => void) => void;
  /** Answer what a message waits for: the first answer counts. */
  answer: (payload: GiveAnswer, ack: (reply: Reply<AnswerReply>) => void) => void;
  /** Tell the room what the producer of a stream does, until it says otherwise or the stream ends; null: nothing. */
  agent_status: (payload: AgentStatus, ack?: (reply: Reply<Done>) => void) => void;
  /** The stream is finished; its text is committed. */
  stream_end: (payload: StreamEnd, ack: (reply: Reply<ChangedReply>) => void) => void;
  /** Stop an answer, named by itself or by its question, also before it begins; the text so far is kept. */
  stream_cancel: (payload: StreamCancel, ack: (reply: Reply<StreamCancelReply>) => void) => void;
  /** The text of a stream from a chunk index on. */
  stream_resume: (payload: StreamResume, ack: (reply: Reply<StreamResumeReply>) => void) => void;
  /** A new token of the same identity. */
  auth_refresh: (payload: AuthRefresh, ack: (reply: Reply<AuthRefreshReply>) => void) => void;
}

/** The socket of `io(url, { auth: { token } })`. */
export type ParleySocket = Socket<ParleyEvents, ParleyCommands>;
