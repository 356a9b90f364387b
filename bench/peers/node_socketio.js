// Node's socket.io as its documentation sets it up, without compression.
//   node_socketio.js PORT [none|redis|sharded]
// With an adapter, REDIS_URL names the server.
const { createServer } = require("http");
const { Server } = require("socket.io");

const port = Number(process.argv[2]);
const adapter = process.argv[3] || "none";

async function main() {
  const http = createServer();
  const options = { serveClient: false, perMessageDeflate: false };
  if (adapter !== "none") {
    const { createClient } = require("redis");
    const { createAdapter, createShardedAdapter } = require("@socket.io/redis-adapter");
    const pub = createClient({ url: process.env.REDIS_URL });
    const sub = pub.duplicate();
    await Promise.all([pub.connect(), sub.connect()]);
    options.adapter = adapter === "sharded"
      ? createShardedAdapter(pub, sub) : createAdapter(pub, sub);
  }
  const io = new Server(http, options);
  io.use((socket, next) =>
    socket.handshake.auth.token === "secret" ? next() : next(new Error("refused")));
  io.on("connection", (socket) => {
    socket.on("join", async (room, ack) => {
      await socket.join(room);
      ack("ok");
    });
    socket.on("say", (data) => io.to(data.room).emit("msg", data));
    socket.on("echo", (data, ack) => ack(data));
  });
  http.listen(port, "127.0.0.1", 2048);
}

main();
