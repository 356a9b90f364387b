// Node's Socket.IO server with its in-memory connection state recovery, for comparison: it emits
// numbered events to three rooms, 100 a second, from the first line on its standard input to the
// second, and then says how many each room got.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const rooms = ["room-0", "room-1", "room-2"];
const sent = Object.fromEntries(rooms.map((room) => [room, 0]));
const http = createServer();
const io = new Server(http, { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } });
io.on("connection", (socket) => {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack({ ok: true });
  });
});
http.listen(Number(process.argv[2]), "127.0.0.1", () => console.log(JSON.stringify({ ready: true })));

let timer;
let turn = 0;
createInterface({ input: process.stdin }).on("line", () => {
  if (timer) {
    clearInterval(timer);
    console.log(JSON.stringify(sent));
    return;
  }
  timer = setInterval(() => {
    const room = rooms[turn++ % rooms.length];
    sent[room] += 1;
    io.to(room).emit("message", { room, number: sent[room] });
  }, 10);
}).on("close", () => process.exit(0));
