// Many official clients in one process, each with its defaults or with what docs/recovery.md recommends, in turn.
// node crowd.mjs <url> ; a JSON array of tokens on standard input. What each of them sees is a line of JSON on output.
import process from "node:process";
import { text } from "node:stream/consumers";
import { io } from "socket.io-client";

const DOCUMENTED = { transports: ["websocket", "polling"], tryAllTransports: true, timeout: 8000 };
const tokens = JSON.parse(await text(process.stdin));

tokens.forEach((token, client) => {
  const socket = io(process.argv[2], { auth: { token }, forceNew: true, ...(client % 2 ? DOCUMENTED : {}) });
  const say = (event, told) => process.stdout.write(JSON.stringify({ client, event, told, at: Date.now() / 1000 }) + "\n");
  let served = false;
  socket.on("connect", () => {
    served = true;
    say("connect");
  });
  socket.on("disconnect", () => say("disconnect"));
  // Without data it is the connection's own fault, and tried again.
  socket.on("connect_error", ({ data }) => say(data ? "refused for good" : "put off", data));
  // Closed before it was let in.
  socket.io.on("close", () => {
    if (!served) say("put off");
    served = false;
  });
  socket.io.on("reconnect_attempt", () => say("attempt"));
});
