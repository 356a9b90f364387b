#!/bin/sh
# A page of the AI SDK 5 whose connection breaks in mid-answer, and that calls `resumeStream()` then, shows twice what it had:
# the answer comes again from its beginning, as the documented server (resumable-stream) sends it, in a message of the same
# id, and is put behind the parts that are there. 6 and 7 begin the message anew (their transport's `resumeStreamIsReplay`).
# A page that is loaded again in mid-answer has it once in each of them.
# A page with 5 has to load again, or to drop its chat and make another, where it resumes after a broken connection.
# Seen with ai 5.0.277, 6.0.326 and 7.0.173 (Node 20), DefaultChatTransport; 5 at a broken connection keeps the parts so far where
# its error says "fetch" or "network", as browsers' do, and not where it says "terminated", as Node's does.
# Exits non-zero if this changes. Needs node and npm.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund ai-5@npm:ai@5.0.277 ai-6@npm:ai@6.0.326 ai-7@npm:ai@7.0.173 2>/dev/null
cat >look.mjs <<'JS'
import assert from "node:assert";
import { createServer } from "node:http";

const BEGINNING = [
  { type: "start", messageId: "answer" }, { type: "start-step" },
  { type: "text-start", id: "t" }, { type: "text-delta", id: "t", delta: "One, " },
];
const REST = [
  { type: "text-delta", id: "t", delta: "two." }, { type: "text-end", id: "t" }, { type: "finish-step" }, { type: "finish" },
];
const frames = (chunks) => chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("");
let cut = () => {};
const server = createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream", "x-vercel-ai-ui-message-stream": "v1" });
  if (request.method === "GET") return response.end(frames([...BEGINNING, ...REST]) + "data: [DONE]\n\n");
  response.write(frames(BEGINNING));
  cut = () => response.socket.destroy();
}).listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));
const api = `http://127.0.0.1:${server.address().port}/chat`;
// A broken connection is "network error" in Chromium, "terminated" in Node; the packages go by the browsers' words.
const fetchAsChromium = async (...given) => {
  const response = await fetch(...given);
  const reader = response.body.getReader();
  const pull = async (controller) => {
    const { done, value } = await reader.read().catch(() => { throw new TypeError("network error"); });
    if (done) controller.close();
    else controller.enqueue(value);
  };
  return new Response(new ReadableStream({ pull }), response);
};

class State {
  status = "ready"; error; messages;
  constructor(messages, shown) { this.messages = messages; this.shown = shown; }
  pushMessage = (message) => { this.messages = [...this.messages, message]; this.shown(message); };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => {
    this.messages = this.messages.map((each, place) => place === index ? structuredClone(message) : each);
    this.shown(message);
  };
  snapshot = (value) => structuredClone(value);
}
const text = ({ messages }) => messages.at(-1).parts.filter(({ type }) => type === "text").map(({ text }) => text).join("");
const seen = {};
for (const major of [5, 6, 7]) {
  const { AbstractChat, DefaultChatTransport } = await import(`ai-${major}`);
  class Chat extends AbstractChat {}
  const chatOf = (messages, shown = () => {}) => new Chat(
    { id: "chat", state: new State(messages, shown), transport: new DefaultChatTransport({ api, fetch: fetchAsChromium }), onError() {} });
  const chat = chatOf([], () => { if (text(chat) === "One, ") cut(); });
  await chat.sendMessage({ text: "count" });
  assert.deepEqual([chat.status, text(chat)], ["error", "One, "]);
  const loaded = chatOf(structuredClone(chat.messages));
  for (const each of [chat, loaded]) await each.resumeStream();
  assert.deepEqual([chat, loaded].map(({ messages }) => messages.map(({ id }) => id).slice(1)), [["answer"], ["answer"]]);
  seen[major] = [text(chat), text(loaded)];
}
server.close();
server.closeAllConnections();
console.log(seen);
assert.deepEqual(seen, {
  5: ["One, One, two.", "One, two."], 6: ["One, two.", "One, two."], 7: ["One, two.", "One, two."],
});
JS
node look.mjs
