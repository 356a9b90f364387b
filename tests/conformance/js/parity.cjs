// Drives parity_app.py with the official client over each way to connect, and prints what it saw, one line
// a check: the lines must not depend on the server.   NODE_PATH=… node parity.cjs PORT
const { io } = require("socket.io-client");
const url = `http://127.0.0.1:${process.argv[2]}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const once = (socket, name) => new Promise((resolve) => socket.once(name, (...args) => resolve(args)));
const plain = (x) =>
  typeof x === "string" && /^[\w-]{20}$/.test(x) ? "a sid"
  : Buffer.isBuffer(x) ? "bytes " + x.toString("hex")
  : Array.isArray(x) ? x.map(plain)
  : x && typeof x === "object" ? Object.fromEntries(Object.entries(x).map(([k, v]) => [k, plain(v)]))
  : x;

async function tour(label, transports) {
  const show = (what, value) => console.log(`${label} ${what}: ${JSON.stringify(plain(value) ?? null)}`);
  const open = (name, namespace = "/", auth = {}) =>
    io(url + namespace, {
      transports, forceNew: true, reconnection: false, extraHeaders: { "x-test": label },
      auth: { token: "secret", name: `${label}-${name}`, ...auth },
    });
  const all = (socket, name) => new Promise((resolve) => socket.emit(name, (...args) => resolve(args)));

  for (const how of ["false", "args", "builtin"]) {
    const bad = open("bad", "/", { token: "wrong", how });
    const error = (await once(bad, "connect_error"))[0];
    show(`refused (${how})`, [error.message, error.data]);
    bad.close();
  }
  const lost = open("lost", "/nowhere-at-all");
  show("unknown namespace", (await once(lost, "connect_error")).length); // the message is the protocol's with us
  lost.close();
  const stranger = open("stranger", "/any");
  await once(stranger, "connect");
  show("catch-all namespace", await stranger.emitWithAck("anything", 1, "x"));
  stranger.close();

  const early = open("early", "/", { early: true });
  const first = [];
  early.onAny((name) => first.push(name));
  early.on("connect", () => first.unshift("connect"));
  await once(early, "early");
  show("what the connect handler sent", first);
  early.close();

  const a = open("a"), b = open("b");
  await Promise.all([once(a, "connect"), once(b, "connect")]);
  await sleep(300); // for the upgrade
  show("transport", a.io.engine.transport.name);
  show("who", (await all(a, "who am I"))[0]);
  show("join", [await a.emitWithAck("join", "r"), await b.emitWithAck("join", "r"), await a.emitWithAck("join", "q")]);
  const seen = { a: [], b: [] };
  a.on("msg", (...args) => seen.a.push(args));
  b.on("msg", (...args) => seen.b.push(args));
  a.emit("say", { room: "r", text: "to all é ✓ 😀" });
  a.emit("others", { room: "r", text: "not to a" });
  a.emit("say_to", { room: "r", text: "not to a either" });
  a.emit("several", ["r", "q"], "once each");
  a.emit("several", ["r", b.id], "a list with a sid");
  a.emit("say", { room: b.id, text: "to one sid" });
  a.emit("say", { room: "nobody" });
  await a.emitWithAck("plain", 1, 1);
  await sleep(300);
  show("messages", seen);

  const voids = [];
  a.on("void", (...args) => voids.push(args));
  a.on("message", (data) => voids.push(["message", data]));
  a.emit("nothing");
  await sleep(200);
  a.send("hi");
  await sleep(100);
  show("arguments", voids);

  a.on("question", (q, ack) => ack(q + "!", 42));
  show("call", await a.emitWithAck("ask_me", "why"));
  show("call in vain", await a.emitWithAck("ask_in_vain"));
  const done = once(a, "callback done");
  a.emit("callback");
  show("callbacks", await done);
  show("sync handler", await a.emitWithAck("plain", 20, 22));
  const blob = once(a, "blob");
  show("binary ack", await new Promise((resolve) => a.emit("binary", { blob: Buffer.from("abcdef") }, (...x) => resolve(x))));
  show("binary", await blob);
  a.emit("boom");
  a.emit("boom_sync");
  a.emit("plain", 1);
  show("after errors", await a.emitWithAck("plain", 1, 1));
  show("catch-all", await a.emitWithAck("nothing_like_it", 1, "x"));
  show("big", (await a.emitWithAck("slow_then", "y".repeat(200000))).length);
  show("another's sid", await a.emitWithAck("enter_anothers_sid", b.id));
  show("nobody", await a.emitWithAck("not_connected"));

  const order = [];
  b.on("n", (i) => order.push(i));
  await a.emitWithAck("burst", "r", 300);
  await sleep(300);
  show("burst", [order.length, order.every((x, i) => x === i)]);

  show("leave", await a.emitWithAck("leave", "q"));
  const chat = open("chat", "/chat");
  const hello = once(chat, "hello");
  await once(chat, "connect");
  show("namespace", [await hello, await chat.emitWithAck("echo", [1, { x: null }])]);
  chat.close();
  const things = open("things", "/things");
  await once(things, "connect");
  things.on("question", (q, ack) => ack(q, "thing!"));
  const thing = once(things, "thing");
  show("class", [await things.emitWithAck("count"), await things.emitWithAck("count"), await things.emitWithAck("gather"), await thing]);
  const thingGone = once(things, "disconnect");
  things.emit("leave");
  show("class disconnect", await thingGone);

  await sleep(2500); // two pings and more
  show("still there", [a.connected, b.connected]);
  show("close_room", await b.emitWithAck("close_the_room", "r"));
  seen.b.length = 0;
  a.emit("say", { room: "r" });
  await a.emitWithAck("plain", 1, 1);
  await sleep(50);
  show("a closed room is silent", seen.b);

  const left = once(a, "disconnect");
  a.emit("kick");
  show("kicked", (await left)[0]);
  const d = open("d");
  await once(d, "connect");
  d.io.engine.close(); // no Socket.IO goodbye
  await sleep(200);
  b.close();
  await sleep(200);
  const e = open("e");
  await once(e, "connect");
  const log = await e.emitWithAck("log");
  show("log", log.filter((x) => x.startsWith(label + "-") || x.startsWith("callback") || x.startsWith("thing")));
  e.close();
}

(async () => {
  await tour("ws", ["websocket"]);
  await tour("up", ["polling", "websocket"]);
  await tour("poll", ["polling"]);
  process.exit(0);
})();
setTimeout(() => { console.log("TIMEOUT"); process.exit(1); }, 90000);
