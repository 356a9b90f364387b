// Chats of the AI SDK 5, 6 and 7 without a page, under a test's control. Each line in is {call, name, ...}, each line
// out {call, result} or {call, error}. A chat's state is what a page would show.
import { createInterface } from "node:readline";
import * as ai5 from "ai-5";
import * as ai6 from "ai-6";
import * as ai7 from "ai-7";
import WebSocket from "ws";

const SDKS = { 5: ai5, 6: ai6, 7: ai7 };
const chats = new Map();

class State {
  #status = "ready"; #error; #messages; #changed;
  constructor(messages, changed) { this.#messages = messages; this.#changed = changed; }
  get status() { return this.#status; }
  set status(value) { this.#status = value; this.#changed(); }
  get error() { return this.#error; }
  set error(value) { this.#error = value; this.#changed(); }
  get messages() { return this.#messages; }
  set messages(value) { this.#messages = value; this.#changed(); }
  pushMessage = (message) => { this.messages = [...this.#messages, message]; };
  popMessage = () => { this.messages = this.#messages.slice(0, -1); };
  replaceMessage = (index, message) => {
    this.messages = this.#messages.with?.(index, this.snapshot(message)) ?? [];
  };
  snapshot = (value) => structuredClone(value);
}

const commands = {
  chat({ name, sdk, id, api, url, token, messages = [], automatic, body }) {
    const ai = SDKS[sdk], watchers = new Set(), finished = [], data = [];
    const state = new State(messages, () => queueMicrotask(() => watchers.forEach((look) => look())));
    class Chat extends ai.AbstractChat {}
    const options = { body, headers: { Authorization: `Bearer ${token}` } };
    const transport = url
      ? new ai.WebSocketChatTransport({ url, protocols: ["bearer", token], body, webSocket: WebSocket })
      : new ai.DefaultChatTransport({ ...options, api });
    const sendAutomaticallyWhen = automatic && (({ messages }) =>
      ai.lastAssistantMessageIsCompleteWithToolCalls({ messages })
      || !!ai.lastAssistantMessageIsCompleteWithApprovalResponses?.({ messages }));
    const chat = new Chat({
      id, state, transport, sendAutomaticallyWhen,
      onFinish: ({ isAbort, isError, isDisconnect, finishReason }) =>
        finished.push({ isAbort, isError, isDisconnect, finishReason }),
      onData: (part) => data.push(part),
    });
    chats.set(name, { chat, watchers, finished, data, transport });
    return shown(name);
  },
  // Goes on until it is done; with `apart` its end is not waited for.
  async act({ name, method, args = [], apart }) {
    const { chat } = chats.get(name);
    const done = chat[method](...args);
    if (!apart) await done;
    else done.catch(() => {});
    return shown(name);
  },
  // Waits until `test`, an expression of `chat`, `last` (the last message) and `text` (its text), is true.
  async until({ name, test }) {
    const { chat, watchers } = chats.get(name);
    const holds = new Function("chat", "last", "text", `return ${test}`);
    await new Promise((found) => {
      const look = () => {
        const last = chat.messages.at(-1);
        const text = (last?.parts ?? []).filter((part) => part.type === "text").map((part) => part.text).join("");
        if (!holds(chat, last, text)) return;
        watchers.delete(look);
        found();
      };
      watchers.add(look);
      look();
    });
    return shown(name);
  },
  state: ({ name }) => shown(name),
  close: ({ name }) => { chats.get(name).transport.close?.(); },
};

function shown(name) {
  const { chat, finished, data } = chats.get(name);
  return { id: chat.id, status: chat.status, error: chat.error?.message, messages: chat.messages, finished, data };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { call, command, ...given } = JSON.parse(line);
  Promise.resolve().then(() => commands[command](given)).then(
    (result) => console.log(JSON.stringify({ call, result })),
    (error) => console.log(JSON.stringify({ call, error: String(error?.stack ?? error) })),
  );
}
process.exit(0);
