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

// The pieces of an answer. Put your model here; an empty piece says that it is still thinking.
async function* think({ message, history }, signal) {
  const text = `You said “${message.content}”, and ${history.length} messages came before.`;
  for (const word of text.split(" ")) {
    yield word + " ";
    await sleep(50, undefined, { signal });
  }
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
// Somebody pressed stop: the text so far is kept.
socket.on("stream_cancel", ({ message_id }) => stopped.get(message_id)?.abort());

async function answer(request, message_id) {
  const where = { session_id: request.session_id, message_id };
  const begun = await call("stream_start", { ...where, reply_to: request.message.message_id });
  if (!begun.ok || begun.message_id !== message_id) return; // another worker was faster
  const stop = new AbortController();
  stopped.set(message_id, stop);
  try {
    const pieces = [];
    for await (const piece of think(request, stop.signal)) {
      pieces.push(piece);
      await write(where, pieces);
    }
    await call("stream_end", where);
  } catch (error) {
    if (stop.signal.aborted) return;
    await call("stream_end", { ...where, error: { code: "WORKER_FAILED", message: error.message } });
    throw error;
  } finally {
    stopped.delete(message_id);
  }
}

// Send the last piece, and before it any that the server turns out to lack.
async function write(where, pieces) {
  let index = pieces.length - 1;
  while (index < pieces.length) {
    const { error, next_index } = await call("stream_chunk", { ...where, index, content: pieces[index] });
    if (error?.code === "RATE_LIMIT") await sleep(error.retry_after);
    else if (error && error.code !== "INDEX_CONFLICT") throw new Error(`${error.code}: ${error.message}`);
    else index = error ? error.next_index : next_index;
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
