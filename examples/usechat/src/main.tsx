// A page of the AI SDK's useChat, whose chats are sessions of Parley's. Its address says where Parley is, with which
// token, whom a new chat asks and which chat it is: ?parley=http://127.0.0.1:8003&token=…&agent=1&chat=…
import { createRoot } from "react-dom/client";
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport, isToolUIPart, lastAssistantMessageIsCompleteWithApprovalResponses, type UIMessage } from "ai";

const given = new URLSearchParams(location.search);
const parley = given.get("parley") ?? "http://127.0.0.1:8003";
const headers = { Authorization: `Bearer ${given.get("token")}` };
// A refresh comes back to the same chat: the answer that is being written goes on in the page.
const id = given.get("chat") ?? crypto.randomUUID();
given.set("chat", id);
history.replaceState(null, "", `?${given}`);

type Stored = { message_id: string; client_message_id?: string; message_type: string; status: string; content: string };

/** What was said. An answer that is not at its end comes by `resume`. */
async function said(): Promise<UIMessage[]> {
  const reply = await fetch(`${parley}/api/chat/sessions/${id}/messages`, { headers });
  const stored: Stored[] = reply.ok ? (await reply.json()).messages : [];
  return stored.filter(({ status }) => status !== "streaming" && status !== "waiting").map((message) => ({
    id: message.client_message_id ?? message.message_id,
    role: message.message_type === "stream" ? "assistant" : "user",
    parts: [{ type: "text", text: message.content }],
  }));
}

function Chat({ before }: { before: UIMessage[] }) {
  const { messages, status, error, sendMessage, addToolApprovalResponse } = useChat({
    id, messages: before, resume: true, sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    transport: new DefaultChatTransport({
      api: `${parley}/api/ai/chat?sdk=7`, headers, body: { agent_id: Number(given.get("agent") ?? 1) },
    }),
  });
  // The client's own stop() is no more than going: the answer goes on.
  const stop = () => fetch(`${parley}/api/ai/chat/${id}/stop`, { method: "POST", headers });
  const send = (form: FormData) => sendMessage({ text: String(form.get("text")) });
  return <>
    {messages.map(({ id, role, parts }) => <p key={id} data-testid={role}>{parts.map((part, place) => {
      if (part.type === "text") return <span key={place}>{part.text}</span>;
      if (!isToolUIPart(part) || part.state !== "approval-requested") return null;
      const say = (approved: boolean) => addToolApprovalResponse({ id: part.approval.id, approved });
      return <span key={place}>May I? <button onClick={() => say(true)}>Yes</button><button onClick={() => say(false)}>No</button></span>;
    })}</p>)}
    {error && <p role="alert">{error.message}</p>}
    {status === "ready" || status === "error" ? null : <button onClick={stop}>Stop</button>}
    <form onSubmit={(event) => { event.preventDefault(); send(new FormData(event.currentTarget)); event.currentTarget.reset(); }}>
      <input name="text" autoComplete="off" />
    </form>
  </>;
}

createRoot(document.getElementById("root")!).render(<Chat before={await said()} />);
