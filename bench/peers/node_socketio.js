// Node's socket.io as its documentation sets it up, without compression.
//   node_socketio.js PORT
const { createServer } = require("http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { serveClient: false, perMessageDeflate: false });

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
http.listen(Number(process.argv[2]), "127.0.0.1", 2048);
