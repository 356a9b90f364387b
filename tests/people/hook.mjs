// `useSession` in a component, against a server: node hook.mjs URL TOKEN (in a folder with the compiled hook)
import { createElement } from "react";
import renderer, { act } from "react-test-renderer";
import { bundle } from "./bundles.mjs";
import { useSession } from "./examples/react/built/useSession.js";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;
const [, , url, token] = process.argv;
let chat;
let ids = [];

function Probe({ sessionId }) {
  chat = useSession({ url, getToken: async () => token, sessionId, agentId: 1, onSession: (id) => ids.push(id) });
  return null;
}

async function until(condition, what) {
  const deadline = Date.now() + 15000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`never: ${what}; ${JSON.stringify({ ...chat, session: undefined }).slice(0, 2000)}`);
    await act(() => new Promise((done) => setTimeout(done, 20)));
  }
}

async function rest(method, path, body) {
  const answer = await fetch(url + path, { method, headers: { Authorization: `Bearer ${token}` }, body: body && JSON.stringify(body) });
  return answer.json();
}

let tree;
await act(async () => {
  tree = renderer.create(createElement(Probe, { sessionId: null }));
});
await until(() => chat.status === "online", "online");
const first = chat.sessionId;
if (ids.length !== 1 || ids[0] !== first) throw new Error(`one session was made: ${ids}`);

// A message, and its answer as a stream.
const text = "a hook that carries a conversation";
await act(() => chat.send(text));
await until(() => chat.messages.length === 2 && chat.messages[1].status === "complete", "the answer");
if (chat.messages[1].content !== text) throw new Error(`the whole answer: ${chat.messages[1].content}`);
await act(() => chat.edit(chat.messages[0].message_id, "edited"));
await until(() => chat.messages[0].content === "edited" && chat.messages[0].is_edited, "the edit");
await act(async () => chat.markRead());
await until(() => chat.readMarks.alice === 2, "the read mark");

// Stopped in the middle.
await act(() => chat.send("word ".repeat(400)));
await until(() => (chat.messages[3]?.content ?? "").length > 20, "chunks");
await act(() => chat.stop(chat.messages[3].message_id));
await until(() => chat.messages[3].status === "cancelled", "the stop");

// Another mount resumes it.
await act(async () => tree.unmount());
await act(async () => {
  tree = renderer.create(createElement(Probe, { sessionId: first }));
});
await until(() => chat.status === "online" && chat.messages.length === 4, "what was there");
if (ids.length !== 1) throw new Error("no second session");

// It is archived under its feet: another one takes its place, and works.
await rest("DELETE", `/api/chat/sessions/${first}`);
await until(() => chat.status === "online" && chat.sessionId !== first && chat.messages.length === 0, "a new session");
await act(() => chat.send("here we go on"));
await until(() => chat.messages.length === 2 && chat.messages[1].status === "complete", "the answer there");

// One that was never there.
await act(async () => tree.unmount());
await act(async () => {
  tree = renderer.create(createElement(Probe, { sessionId: "nobody-knows-this" }));
});
await until(() => chat.status === "online" && chat.sessionId.startsWith("sess_"), "one in place of it");
await act(async () => tree.unmount());

// A mount in the middle of an answer has all of it.
bundle();
await act(async () => {
  tree = renderer.create(createElement(Probe, { sessionId: null }));
});
await until(() => chat.status === "online", "online again");
const long = "word by word, ".repeat(40);
await act(() => chat.send(long));
await until(() => (chat.messages[1]?.content ?? "").length > 20, "the first of the answer");
const last = chat.sessionId;
await act(async () => tree.unmount());
await act(async () => {
  tree = renderer.create(createElement(Probe, { sessionId: last }));
});
await until(() => chat.messages[1]?.status === "complete", "the end");
if (chat.messages[1].content !== long) throw new Error(`a hole: ${chat.messages[1].content}`);

// An answer of parts, as history has it in the end.
await act(() => chat.send("/parts"));
await until(() => chat.messages[3]?.parts?.some(({ type }) => type === "tool"), "a tool");
await until(() => chat.messages[3].status === "complete", "the end of it");
const { parts, content } = (await rest("GET", `/api/chat/sessions/${last}/messages`)).messages[3];
const shown = [chat.messages[3].parts, chat.messages[3].content];
if (JSON.stringify(shown) !== JSON.stringify([parts, content])) throw new Error(`not as in history: ${JSON.stringify([shown, parts])}`);
await act(async () => tree.unmount());
console.log("all of it");
process.exit(0);
