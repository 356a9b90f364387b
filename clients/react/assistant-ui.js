"use client";
// A session of Parley's as a thread of assistant-ui's: the runtime that its `AssistantRuntimeProvider` takes.
import { useMemo, useRef } from "react";
import { useExternalStoreRuntime } from "@assistant-ui/react";
import { useParley } from "./provider.js";
import { useSession } from "./sessions.js";
import { isAnswering } from "./state.js";
import { newId } from "parley-client";
import { partsOf, Thread } from "./thread.js";

/** `runtime` for `<AssistantRuntimeProvider runtime={runtime}>`. What assistant-ui does the session does: sending, answers
 * as they are written, stopping, editing and answering anew beside the old version, versions, approvals and other asks,
 * files, thumbs. `more` goes to `useExternalStoreRuntime` as it is. */
export function useParleyRuntime(id, more = {}) {
  const [state, session] = useSession(id);
  const parley = useParley();
  const latest = useRef(state);
  latest.current = state;
  const thread = useMemo(() => new Thread(), [session]);
  const acts = useMemo(() => (session ? actsOf(session, latest) : NONE), [session]);
  const attachments = useMemo(() => (session ? attachmentsOf(session) : undefined), [session]);
  const { adapters, ...others } = more;
  return useExternalStoreRuntime({
    isDisabled: !session || state.connection === "ended" || state.connection === "refused",
    isLoading: Boolean(session) && !state.session && state.connection !== "refused",
    isRunning: isAnswering(state),
    hasEarlier: state.hasOlder,
    messageRepository: thread.of(state),
    extras: { parley, session },
    ...acts,
    ...others,
    adapters: { attachments, feedback: acts.feedback, ...adapters },
  });
}

const NONE = { onNew: async () => {} };

function actsOf(session, latest) {
  const find = (test) => latest.current.messages.find(test);
  /** The first answer counts: who came later sees that one. */
  const answer = (message, interrupt, given) =>
    session.answer(message.message_id, interrupt.id, given).catch((error) => {
      if (error.code !== "CONFLICT") throw error;
    });
  const asked = (wanted) => {
    for (const message of latest.current.messages) {
      const interrupt = message.interrupts?.find((each) => !each.answer && wanted(each));
      if (interrupt) return [message, interrupt];
    }
    throw new Error("Nobody asks for this any more");
  };
  const called = ({ toolCallId }) => asked((each) => (each.tool_call_id ?? each.id) === toolCallId);

  return {
    async onNew(message) {
      const parts = partsOf(message);
      const [only] = parts;
      await session.send(parts.length === 1 && only.type === "text" ? only.text : { parts });
    },
    async onEdit(message) {
      const text = partsOf(message).filter(({ type }) => type === "text").map((part) => part.text).join("\n\n");
      await session.edit(message.sourceId, text, { branch: latest.current.session?.agent_id != null });
    },
    async onReload(parentId, { sourceId }) {
      await session.regenerate(parentId ?? sourceId);
    },
    onCancel: async () => void (await session.stop()),
    onDelete: async (id) => void (await session.remove(id)),
    onLoadEarlier: () => session.loadOlder(),
    /** A version was chosen: what leads there is among these, and not on the path. */
    setMessages(messages) {
      const chosen = messages.findLast(({ id }) => !find(({ message_id }) => message_id === id));
      if (find(({ siblings }) => siblings?.includes(chosen?.id))) session.select(chosen.id).catch(() => {});
    },
    async onRespondToToolApproval({ approvalId, approved, text, reason }) {
      const [message, interrupt] = asked(({ id }) => id === approvalId);
      const payload = { approved, ...(text && { text }), ...(reason && { reason }) };
      await answer(message, interrupt, { status: approved || interrupt.response_schema ? "resolved" : "cancelled", payload });
    },
    onResumeToolCall(options) {
      const [message, interrupt] = called(options);
      answer(message, interrupt, { status: "resolved", payload: options.payload }).catch(console.warn);
    },
    async onAddToolResult(options) {
      const [message, interrupt] = called(options);
      const failed = options.isError ? { error: options.result } : options.result;
      await answer(message, interrupt, { status: "resolved", payload: failed });
    },
    feedback: { submit: ({ message, type }) => session.feedback(message.id, type === "positive" ? "up" : "down").catch(console.warn) },
  };
}

/** Files are uploaded when they are chosen, and said with the message. */
function attachmentsOf(session) {
  const uploaded = new Map(); // attachment -> its part
  return {
    accept: "*",
    async *add({ file }) {
      const id = newId();
      const type = file.type.startsWith("image/") ? "image" : "document";
      const shown = { id, type, name: file.name, contentType: file.type, file };
      yield { ...shown, status: { type: "running", reason: "uploading", progress: 0 } };
      const { file_id, file_info } = await session.upload(file, { post: false });
      uploaded.set(id, { type: "file", data: file_id, sourceType: "id", mimeType: file_info.type, filename: file_info.name });
      yield { ...shown, status: { type: "requires-action", reason: "composer-send" } };
    },
    async send(attachment) {
      return { ...attachment, status: { type: "complete" }, content: [uploaded.get(attachment.id)] };
    },
    remove: async ({ id }) => void uploaded.delete(id),
  };
}
