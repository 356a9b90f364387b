#!/bin/sh
# CopilotKit's agent takes an event that it cannot read for the end of the run, and the run for whole. @copilotkit/core
# carries @ag-ui/client 0.0.59, to which `RUN_FINISHED` as AG-UI 1.0 has it, with the outcome `cancelled` or with
# `pendingToolCallIds`, is a ZodError: its HttpAgent fails the run, and shows nothing of it that came with that event.
# `ProxiedCopilotRuntimeAgent` catches every ZodError as if it were an abort: `runAgent()` resolves, no callback tells
# of a failure or of an end, and what comes after that event, as the next run of a thread that is told again, is lost
# without a word. @ag-ui/client 1.0.0 takes all of them.
# A server has to tell a client that declares no `protocolVersion` no outcome but those that 0.0.59 knows.
# Seen with @copilotkit/core 1.74.0, @ag-ui/client 0.0.59 and 1.0.0 (Node 20).
# Exits non-zero if this changes. Needs node and npm.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @copilotkit/core@1.74.0 @ag-ui/client@0.0.59 client-1@npm:@ag-ui/client@1.0.0 \
  2>/dev/null
cat >look.mjs <<'JS'
import assert from "node:assert";
import { HttpAgent as Old } from "@ag-ui/client";
import { HttpAgent as New } from "client-1";
import { ProxiedCopilotRuntimeAgent as CopilotKit } from "@copilotkit/core";
console.error = console.warn = () => {};

const ids = { threadId: "t", runId: "r" };
const text = (delta) => ({ type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta });
const begun = [
  { type: "RUN_STARTED", ...ids }, { type: "TEXT_MESSAGE_START", messageId: "m", role: "assistant" }, text("One, "),
];
const rest = [text("two."), { type: "TEXT_MESSAGE_END", messageId: "m" }];
const next = [
  { type: "RUN_STARTED", ...ids, runId: "r2" },
  { type: "TEXT_MESSAGE_CHUNK", messageId: "m2", role: "assistant", delta: "Three." },
];
const finished = (outcome) => ({ type: "RUN_FINISHED", ...ids, outcome });
const runs = {
  success: [...begun, ...rest, finished({ type: "success" })],
  cancelled: [...begun, ...rest, finished({ type: "cancelled" })],
  pending: [...begun, ...rest, finished({ type: "success", pendingToolCallIds: ["c"] })],
  replayed: [...begun, ...rest, finished({ type: "cancelled" }), ...next, finished({ type: "success" })],
};
let told;
globalThis.fetch = async () => new Response(
  told.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(""), { headers: { "content-type": "text/event-stream" } });
const runtimeUrl = "http://server";
const agents = {
  "client 1.0.0": () => new New({ url: runtimeUrl }),
  "client 0.0.59": () => new Old({ url: runtimeUrl }),
  "copilotkit 1.74.0": () => new CopilotKit({ agentId: "a", runtimeUrl, transport: "rest" }),
};
const seen = {};
for (const [name, make] of Object.entries(agents)) {
  for (const run of Object.keys(runs)) {
    const agent = make(), heard = [];
    told = runs[run];
    agent.subscribe({
      onRunFailed: () => { heard.push("failed"); },
      onRunFinishedEvent: () => { heard.push("finished"); },
    });
    heard.push(await agent.runAgent().then(() => "resolves", (error) => error.name));
    const shown = agent.messages.map(({ content }) => content).join("|");
    seen[`${name}, ${run}`] = `${heard.join(" ")}: ${shown}`;
  }
}
console.log(seen);
const whole = "finished resolves: One, two.";
const expected = {
  "client 1.0.0, success": whole, "client 1.0.0, cancelled": whole, "client 1.0.0, pending": whole,
  "client 1.0.0, replayed": "finished finished resolves: One, two.|Three.",
  "client 0.0.59, success": whole,
  "copilotkit 1.74.0, success": whole,
  "copilotkit 1.74.0, cancelled": "resolves: One, two.", "copilotkit 1.74.0, pending": "resolves: One, two.",
  "copilotkit 1.74.0, replayed": "resolves: One, two.",
};
for (const [name, value] of Object.entries(expected)) assert.equal(seen[name], value, name);
for (const run of ["cancelled", "pending", "replayed"]) {
  assert.match(seen[`client 0.0.59, ${run}`], /^failed ZodError: $/);
}
JS
node look.mjs
