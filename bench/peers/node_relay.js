// What the product is measured against: Node's socket.io with the same token
// checked, passing the same events on as they came. It stores nothing, keeps no
// log, checks no access and no payload.
//   node_relay.js PORT          JWT_SECRET_KEY in the environment;
// with REDIS_URL one node of several, by the sharded adapter.
const { createServer } = require("http");
const jwt = require("jsonwebtoken");
const { Server } = require("socket.io");

const key = process.env.JWT_SECRET_KEY;
let streams = 0;

async function sharded(url) {
  const { createClient } = require("redis");
  const { createShardedAdapter } = require("@socket.io/redis-adapter");
  const pub = createClient({ url });
  const sub = pub.duplicate();
  await Promise.all([pub.connect(), sub.connect()]);
  return createShardedAdapter(pub, sub, { subscriptionMode: "dynamic" });
}

async function main() {
  const http = createServer();
  const options = { serveClient: false, perMessageDeflate: false };
  if (process.env.REDIS_URL) options.adapter = await sharded(process.env.REDIS_URL);
  const io = new Server(http, options);
  io.use((socket, next) => {
    try {
      socket.data.user = jwt.verify(socket.handshake.auth.token, key, { algorithms: ["HS256"] });
      next();
    } catch (error) {
      next(error);
    }
  });
  io.on("connection", (socket) => {
    socket.on("join", async (data, ack) => {
      await socket.join(data.session_id);
      ack({ ok: true });
    });
    socket.on("typing", (data) => socket.to(data.session_id).emit("typing", data));
    socket.on("stream_start", (data, ack) => ack({ ok: true, message_id: `msg_${++streams}` }));
    socket.on("stream_chunk", (data) => socket.to(data.session_id).emit("stream_chunk", data));
    socket.on("stream_end", (data) => socket.to(data.session_id).emit("stream_end", data));
  });
  http.listen(Number(process.argv[2]), "127.0.0.1", 2048);
}

main();
