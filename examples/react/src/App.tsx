import { useEffect, useState, type FormEvent } from "react";
import type { Part } from "./conversation";
import { useSession } from "./useSession";

const URL = "http://127.0.0.1:8003";
const KEY = "parley-session";

/** In real life your backend signs tokens; a server with DEBUG gives them to anybody on this machine. */
async function getToken(): Promise<string> {
  const answer = await fetch(`${URL}/api/dev/token`, { method: "POST", body: JSON.stringify({ sub: "alice" }) });
  return (await answer.json()).token;
}

export function App() {
  const [kept] = useState(() => localStorage.getItem(KEY));
  const chat = useSession({ url: URL, getToken, sessionId: kept, agentId: 1, onSession: (id) => localStorage.setItem(KEY, id) });
  const [text, setText] = useState("");

  const newest = chat.messages.at(-1)?.seq;
  useEffect(() => chat.markRead(), [newest]);

  async function submit(event: FormEvent) {
    event.preventDefault();
    if (!text.trim()) return;
    setText("");
    await chat.send(text).catch(() => setText(text));
  }

  return (
    <main>
      <h1>{chat.session?.title ?? "A conversation"}</h1>
      <p role="status">
        {chat.status}
        {chat.recovery && `, ${chat.recovery}`} · {Object.keys(chat.online).join(", ")}
        {chat.error && ` · ${chat.error.message}`}
      </p>
      {chat.hasOlder && <button onClick={() => void chat.loadOlder()}>Older messages</button>}
      <ol>
        {chat.messages.map((message) => (
          <li key={message.message_id}>
            <b>{message.sender_id}</b> {message.deleted_at ? <i>deleted</i> : (message.parts?.map((part) => <Shown key={part.id} part={part} />) ?? message.content)}
            {message.status === "streaming" && <button onClick={() => void chat.stop(message.message_id)}>Stop</button>}
          </li>
        ))}
      </ol>
      <p>{chat.typing.length > 0 && `${chat.typing.join(", ")} typing…`}</p>
      <form onSubmit={submit}>
        <input
          aria-label="Message"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            chat.setTyping(event.target.value !== "");
          }}
        />
        <button disabled={chat.status !== "online"}>Send</button>
      </form>
    </main>
  );
}

/** What an answer is made of beside its text: what the model thought, did and read. */
function Shown({ part }: { part: Part }) {
  switch (part.type) {
    case "text":
      return <p>{part.text}</p>;
    case "reasoning":
      return <details><summary>Reasoning</summary>{part.text}</details>;
    case "tool":
      return <details><summary>{part.title ?? part.name}: {part.state}</summary>{JSON.stringify(part.output ?? part.error ?? part.input ?? part.input_text)}</details>;
    case "source":
      return <a href={part.url} rel="noopener noreferrer">{part.title ?? part.url}</a>;
    default:
      return null;
  }
}
