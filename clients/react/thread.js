// A session's messages as assistant-ui's, and back. Knows no React.
import { fromThreadMessageLike } from "@assistant-ui/react";
import { isAnswering } from "./state.js";

/** What a session's states come to, one after the other: a message that did not change stays the same object. */
export class Thread {
  #made = new WeakMap(); // message -> what is shown of it
  #seen = new Map(); // id -> what was shown of it last: of versions that the path does not lead through
  #versions = new Map(); // id, or null -> what follows it, in order: the path says so a moment after a new one begins
  #last = {}; // of what the last repository was made, and the repository

  of(state) {
    const { messages, pending } = state;
    const answering = isAnswering(state);
    const made = [messages, pending, answering];
    if (this.#last.made?.every((each, at) => each === made[at])) return this.#last.repository;
    this.#last = { made, repository: this.#repository(state, answering) };
    return this.#last.repository;
  }

  #repository({ messages, pending }, answering) {
    const items = [];
    const path = new Set(messages.map(({ message_id }) => message_id));
    let parentId = null;
    const put = (message, versions) => {
      for (const id of versions) {
        items.push({ parentId, message: id === message.id ? message : (this.#seen.get(id) ?? version(id, message.role)) });
      }
      parentId = message.id;
    };
    const beside = (id) => [...(this.#versions.get(parentId) ?? []).filter((each) => each !== id && !path.has(each)), id];
    for (const message of messages) {
      if (message.deleted_at) continue;
      const shown = this.#shown(message);
      const versions = message.siblings ?? beside(shown.id);
      this.#versions.set(parentId, versions);
      put(shown, versions);
    }
    const last = messages.at(-1);
    for (const said of pending.filter(({ status }) => status !== "sent")) {
      const message = this.#shown(said);
      put(message, [message.id]);
    }
    // An answer that has not begun: its place is kept, and what stops it does not take the question back.
    if (answering && last?.status !== "streaming") {
      const id = `${parentId}:answer`;
      put(waiting(id), beside(id));
    }
    return { headId: parentId, messages: items };
  }

  #shown(message) {
    if (!this.#made.has(message)) this.#made.set(message, threadMessage(message));
    const shown = this.#made.get(message);
    this.#seen.set(shown.id, shown);
    return shown;
  }
}

const made = (like) => fromThreadMessageLike(like, like.id, like.status ?? { type: "complete", reason: "stop" });
/** One that was never shown here: what is in it comes when it is chosen. */
const version = (id, role) => made({ id, role, content: role === "system" ? " " : [] });
const waiting = (id) => made({ id, role: "assistant", content: [], status: { type: "running" } });

const ROLES = { user: "user", agent: "assistant", system: "system" };

/** The message itself is in `metadata.custom.message`: its sender, its read marks, … */
function threadMessage(message) {
  const role = ROLES[message.sender_type];
  const common = {
    id: message.message_id ?? message.client_message_id, role, createdAt: new Date(message.created_at),
    metadata: { custom: { message } },
  };
  if (role === "system") return made({ ...common, content: [{ type: "text", text: message.content || " " }] });
  const files = message.parts.filter(({ type }) => type === "file");
  if (role === "user") {
    const content = message.parts.filter(({ type }) => type !== "file").flatMap((part) => shownPart(part, message));
    return made({ ...common, content, attachments: files.map(attachmentOf) });
  }
  const tools = new Set(message.parts.map(({ tool_call_id }) => tool_call_id));
  const asks = (message.interrupts ?? []).filter(({ tool_call_id }) => !tools.has(tool_call_id ?? NaN));
  const { feedback } = message;
  const thumb = feedback?.value && { type: feedback.value === "up" ? "positive" : "negative" };
  return made({
    ...common, status: statusOf(message), content: [...message.parts.flatMap((part) => shownPart(part, message)), ...asks.map(askedPart)],
    metadata: { ...common.metadata, ...(thumb && { submittedFeedback: thumb }) },
  });
}

function statusOf({ status, error, finish_reason }) {
  if (status === "streaming") return { type: "running" };
  if (status === "waiting") return { type: "requires-action", reason: "interrupt" };
  if (status === "failed") return { type: "incomplete", reason: "error", error: error?.message ?? error?.code ?? "It failed" };
  if (status === "cancelled") return { type: "incomplete", reason: "cancelled" };
  if (status === "interrupted") return { type: "incomplete", reason: "other" };
  if (finish_reason === "length") return { type: "incomplete", reason: "length" };
  return { type: "complete", reason: "stop" };
}

function shownPart(part, message) {
  const { id, type } = part;
  if (type === "text" || type === "reasoning") return [{ type, id, text: part.text }];
  if (type === "data") return [{ type, id, name: part.name, data: part.data }];
  if (type === "file") return [fileOf(part)];
  if (type === "source" && part.url) return [{ type, sourceType: "url", id, url: part.url, title: part.title }];
  if (type === "source") {
    return [{ type, sourceType: "document", id, title: part.title ?? "", mediaType: part.media_type ?? "", filename: part.title }];
  }
  return type === "tool" ? [toolOf(part, message)] : [];
}

function toolOf({ tool_call_id, name, input, input_text, output, error, state, executed_by }, { interrupts, status }) {
  const ask = interrupts?.find((each) => each.tool_call_id === tool_call_id);
  const object = input && typeof input === "object" && !Array.isArray(input);
  return {
    type: "tool-call", toolCallId: tool_call_id, toolName: name, ...(object && { args: input }),
    argsText: input_text ?? (input === undefined ? "" : JSON.stringify(input)),
    ...(output !== undefined && { result: output }), ...(error !== undefined && { result: error, isError: true }),
    ...(ask && executed_by !== "client" && { approval: approvalOf(ask, status) }),
    ...(state === "output_denied" && { isError: true, result: "denied" }),
  };
}

function approvalOf({ id, message: prompt, answer }, status) {
  const over = answer?.why ?? (!answer && status !== "waiting" && "stopped");
  const approved = answer && !answer.why ? (answer.payload?.approved ?? answer.status === "resolved") : undefined;
  return { id, prompt, ...(over ? { resolution: over === "expired" ? "expired" : "cancelled" } : { approved }) };
}

/** What is asked beside all tools: a call of the tool that is named as its reason, which a person gives the result of. */
function askedPart(interrupt) {
  const { id, reason, message, response_schema, answer } = interrupt;
  const args = { ...(message && { message }), ...(response_schema && { response_schema }) };
  const open = { interrupt: { type: "human", payload: interrupt } };
  return { type: "tool-call", toolCallId: id, toolName: reason, args, ...(answer ? { result: answer.payload ?? answer.status } : open) };
}

function fileOf({ id, url, file_id, media_type, name }) {
  return { type: "file", id, data: url ?? file_id, sourceType: url ? "url" : "id", mimeType: media_type ?? "application/octet-stream", filename: name };
}

function attachmentOf(part) {
  const file = fileOf(part);
  const type = file.mimeType.startsWith("image/") ? "image" : "file";
  return { id: part.id, type, name: part.name ?? "", contentType: file.mimeType, status: { type: "complete" }, content: [file] };
}

/** The parts that a message of assistant-ui's is sent with. */
export function partsOf({ content, attachments = [] }) {
  return [...attachments.flatMap((each) => each.content), ...content].flatMap((part) => {
    if (part.type === "text") return part.text ? [{ type: "text", text: part.text }] : [];
    if (part.type === "data") return [{ type: "data", name: part.name, data: part.data }];
    if (part.type !== "file") throw new Error(`A part of the kind ${part.type} cannot be sent`);
    const where = part.sourceType === "id" ? { file_id: part.data } : { url: part.data };
    return [{ type: "file", ...where, media_type: part.mimeType, name: part.filename }];
  });
}
