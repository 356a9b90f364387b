// A page of assistant-ui's, whose thread is a session of Parley's. Its address says where Parley is, with which token,
// whom a new chat asks and which chat it is: ?parley=http://127.0.0.1:8003&token=…&agent=1&chat=…
import { createRoot } from "react-dom/client";
import {
  AssistantRuntimeProvider, AuiConfig, AuiIf, ComposerPrimitive, MessagePrimitive, ThreadPrimitive, Tools, type Toolkit,
} from "@assistant-ui/react";
import { AssistantChatTransport, useChatRuntime } from "@assistant-ui/react-ai-sdk";
import { lastAssistantMessageIsCompleteWithApprovalResponses, lastAssistantMessageIsCompleteWithToolCalls, type UIMessage } from "ai";

const given = new URLSearchParams(location.search);
const parley = given.get("parley") ?? "http://127.0.0.1:8003";
const headers = { Authorization: `Bearer ${given.get("token")}` };
const id = given.get("chat") ?? crypto.randomUUID();
given.set("chat", id);
history.replaceState(null, "", `?${given}`);

const toolkit: Toolkit = {
  paint: {
    type: "frontend", description: "Gives the page a colour.",
    parameters: { type: "object", properties: { colour: { type: "string" } }, required: ["colour"] },
    execute: async ({ colour }: { colour: string }) => { document.body.style.backgroundColor = colour; return "done"; },
    renderText: { running: "paints", complete: "has painted" },
  },
};
const transport = new AssistantChatTransport({
  api: `${parley}/api/ai/chat?sdk=7`, headers, body: { agent_id: Number(given.get("agent") ?? 1) },
  // A thread of assistant-ui's has another id in each page.
  prepareSendMessagesRequest: ({ body, messages, trigger, messageId }) => ({ body: { ...body, id, messages, trigger, messageId } }),
  // A page that comes asks for the answer that is open; where none is, it is told so.
  resumable: { storage: { getStreamId: () => id, setStreamId() {}, clear() {} }, resumeApi: `${parley}/api/ai/chat/${id}/stream?sdk=7` },
});

type Stored = { message_id: string; client_message_id?: string; message_type: string; status: string; content: string };
const reply = await fetch(`${parley}/api/chat/sessions/${id}/messages`, { headers });
const stored: Stored[] = reply.ok ? (await reply.json()).messages : [];
// What was said. An answer that is not at its end is resumed.
const before = stored.filter(({ status }) => status !== "streaming" && status !== "waiting").map((message): UIMessage => ({
  id: message.client_message_id ?? message.message_id, role: message.message_type === "stream" ? "assistant" : "user",
  parts: [{ type: "text", text: message.content }],
}));
const stop = () => fetch(`${parley}/api/ai/chat/${id}/stop`, { method: "POST", headers });

function Page() {
  const runtime = useChatRuntime({ transport, messages: before, sendAutomaticallyWhen: (chat) =>
    lastAssistantMessageIsCompleteWithToolCalls(chat) || lastAssistantMessageIsCompleteWithApprovalResponses(chat) });
  return <AssistantRuntimeProvider runtime={runtime} config={AuiConfig({ tools: Tools({ toolkit }) })}>
    <ThreadPrimitive.Messages>{({ message }) => <MessagePrimitive.Root data-testid={message.role}><MessagePrimitive.Parts>{({ part }) => {
      if (part.type === "text") return <span>{part.text}</span>;
      if (part.type !== "tool-call" || !part.approval || part.approval.approved !== undefined) return <></>;
      const say = (approved: boolean) => part.respondToApproval({ approved });
      return <span>May I? <button onClick={() => say(true)}>Yes</button><button onClick={() => say(false)}>No</button></span>;
    }}</MessagePrimitive.Parts></MessagePrimitive.Root>}</ThreadPrimitive.Messages>
    <AuiIf condition={({ thread }) => thread.isRunning}><button onClick={stop}>Stop</button></AuiIf>
    <ComposerPrimitive.Root><ComposerPrimitive.Input /></ComposerPrimitive.Root>
  </AssistantRuntimeProvider>;
}

createRoot(document.getElementById("root")!).render(<Page />);
