// What the product is measured against: Node's socket.io with the same token
// checked, passing the same events on as they came. It stores nothing, keeps no
// log, checks no access and no payload.
//   node_relay.js PORT          JWT_SECRET_KEY in the environment
const { createServer } = require("http");
const jwt = require("jsonwebtoken");
const { Server } = require("socket.io");

const key = process.env.JWT_SECRET_KEY;
const http = createServer();
const io = new Server(http, { serveClient: false, perMessageDeflate: false });
let streams = 0;

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
