// An agent of your own: a worker that answers what people ask, piece by piece.
//
//     npm install socket.io-client
//     AGENT_TOKEN=... node worker.mjs http://127.0.0.1:8003
//
// Run as many as you like: each request goes to one of them.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";

const socket = io(process.argv[2], { auth: { token: process.env.AGENT_TOKEN }, transports: ["websocket"] });
const stopped = new Map(); // the id of an answer → what tells its model to stop
const meanwhile = new Map(); // → what was asked while it is written

// A piece of an answer is a command, and what it says. More of what people read; empty: still thinking.
const text = (content) => ["stream_chunk", { content }];
// Another part of the answer, or the same one (by its `id`) as it is now.
const part = (whole) => ["stream_part", { part: whole }];
// More text of a part that is no text: of what the model thinks, or of a tool's input.
const more = (id, content) => ["stream_delta", { part: id, content }];

// The pieces of an answer. Put your model here. What is asked while it is written (`when_busy: "steer"`) is in
// `heard`: a step takes it up, and what is left there is the next request.
async function* think({ message, history }, signal, heard) {
  yield text("");
  yield part({ id: "thought", type: "reasoning", text: "" });
  for (const some of ["They may want to know ", "how much was said before."]) yield more("thought", some);
  const tool = { id: "count", type: "tool", tool_call_id: "call_1", name: "count_messages", input: {} };
  yield part({ ...tool, state: "input_available" });
  yield part({ ...tool, state: "output_available", output: history.length });
  for (const word of `You said “${message.content}”, and ${history.length} messages came before.`.split(" ")) {
    yield text(word + " ");
    for (const { message_id, content } of heard.splice(0)) {
      yield part({ id: message_id, type: "step", steered: [message_id] });
      yield text(`(And “${content}”.) `);
    }
    await sleep(50, undefined, { signal });
  }
  yield part({ id: "source", type: "source", url: "https://example.org/counting", title: "How to count" });
}

socket.on("connect", () => console.log("waiting for requests"));
socket.on("connect_error", (error) => {
  console.error(error.message);
  // What passes by itself is tried again by itself; a token that is not good any more is somebody's to renew.
  if (!socket.active) process.exit(1);
});
socket.on("agent_request", (request, acknowledge) => {
  acknowledge(); // it is ours
  answer(request, `answer-${randomUUID()}`).catch(console.error);
});
socket.on("agent_steer", ({ message_id, message }) => meanwhile.get(message_id)?.push(message));
// Somebody pressed stop: the text so far is kept.
socket.on("stream_cancel", ({ message_id }) => stopped.get(message_id)?.abort());

async function answer(request, message_id) {
  const where = { session_id: request.session_id, message_id };
  const begun = await call("stream_start", { ...where, reply_to: request.message.message_id });
  if (!begun.ok || begun.message_id !== message_id) return; // another worker was faster
  const stop = new AbortController();
  stopped.set(message_id, stop);
  meanwhile.set(message_id, []);
  try {
    const pieces = [];
    for await (const piece of think(request, stop.signal, meanwhile.get(message_id))) {
      if (piece[1].content === "") {
        await call("stream_chunk", { ...where, content: "" }); // no piece: it has no index
        continue;
      }
      pieces.push(piece);
      await write(where, pieces);
    }
    pieces.push(["stream_end", { finish_reason: "stop" }]);
    await write(where, pieces);
  } catch (error) {
    if (stop.signal.aborted) return;
    await call("stream_end", { ...where, error: { code: "WORKER_FAILED", message: error.message } });
    throw error;
  } finally {
    stopped.delete(message_id);
    meanwhile.delete(message_id);
  }
}

// Send the last piece, and before it any that the server turns out to lack.
async function write(where, pieces) {
  let index = pieces.length - 1;
  while (index < pieces.length) {
    const [command, said] = pieces[index];
    const { error, next_index } = await call(command, { ...where, index, ...said });
    if (error?.code === "RATE_LIMIT") await sleep(error.retry_after);
    else if (error && error.code !== "INDEX_CONFLICT") throw new Error(`${error.code}: ${error.message}`);
    else index = error ? error.next_index : next_index ?? pieces.length;
  }
}

// Until it is answered, over reconnects: ids and indices make a repeat harmless.
async function call(command, payload) {
  for (;;) {
    try {
      return await socket.timeout(10_000).emitWithAck(command, payload);
    } catch {
      await sleep(1000);
    }
  }
}
