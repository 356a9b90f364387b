// Agents of AG-UI's own client, and of CopilotKit's, without a page, under a test's control. Each line in is
// {call, command, name, ...}, each line out {call, result} or {call, error}. An agent's state is what a page would show.
import { createInterface } from "node:readline";
import { HttpAgent } from "@ag-ui/client";
import { ProxiedCopilotRuntimeAgent } from "@copilotkit/core";

const agents = new Map();
console.error = console.warn = console.log = () => {}; // they tell of what the tests look at
// A connection that breaks off is told to the run, and to nobody once more: without this Node would end.
process.on("unhandledRejection", () => {});

const commands = {
  agent({ name, url, runtime, agent, token, thread, messages = [] }) {
    const headers = { Authorization: `Bearer ${token}` };
    const given = { agentId: agent, threadId: thread, initialMessages: messages, headers };
    const made = runtime
      ? new ProxiedCopilotRuntimeAgent({ ...given, runtimeUrl: runtime, transport: "rest" })
      : new HttpAgent({ ...given, url });
    const seen = { agent: made, watchers: new Set(), events: [], failures: [], runs: [], changed };
    function changed() { queueMicrotask(() => seen.watchers.forEach((look) => look())); }
    made.subscribe({
      onEvent: ({ event }) => { seen.events.push(event); changed(); },
      onMessagesChanged: changed,
      onStateChanged: changed,
      onRunFailed: ({ error }) => {
        seen.failures.push({ message: error.message, status: error.status, payload: error.payload });
      },
      onRunFinalized: changed,
    });
    agents.set(name, seen);
    return shown(name);
  },
  // Says `text`, or what `message` is, if anything, and runs; with `apart` its end is not waited for.
  async run({ name, text, message, apart, ...parameters }) {
    const { agent, runs, changed } = agents.get(name);
    if (text || message) agent.addMessage(message ?? { id: crypto.randomUUID(), role: "user", content: text });
    const done = agent.runAgent(parameters).then(
      ({ result }) => runs.push({ result }), (error) => runs.push({ error: error.message })).finally(changed);
    if (!apart) await done;
    return shown(name);
  },
  async connect({ name, apart }) {
    const { agent, runs, changed } = agents.get(name);
    const done = agent.connectAgent({}).then(
      ({ result }) => runs.push({ result }), (error) => runs.push({ error: error.message })).finally(changed);
    if (!apart) await done;
    return shown(name);
  },
  abort({ name }) { agents.get(name).agent.abortRun(); },
  say({ name, messages }) { agents.get(name).agent.setMessages(messages); },
  // Waits until `test`, an expression of `agent`, `last` (the last message), `events` and `runs`, is true.
  async until({ name, test }) {
    const { agent, watchers, events, runs } = agents.get(name);
    const holds = new Function("agent", "last", "events", "runs", `return ${test}`);
    await new Promise((found) => {
      const look = () => {
        if (!holds(agent, agent.messages.at(-1), events, runs)) return;
        watchers.delete(look);
        found();
      };
      watchers.add(look);
      look();
    });
    return shown(name);
  },
  state: ({ name }) => shown(name),
};

function shown(name) {
  const { agent, events, failures, runs } = agents.get(name);
  const { messages, state, pendingInterrupts, threadId, isRunning } = agent;
  return { messages, state, pendingInterrupts, threadId, isRunning, events, failures, runs };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { call, command, ...given } = JSON.parse(line);
  Promise.resolve().then(() => commands[command](given)).then(
    (result) => process.stdout.write(JSON.stringify({ call, result }) + "\n"),
    (error) => process.stdout.write(JSON.stringify({ call, error: String(error.stack) }) + "\n"));
}
