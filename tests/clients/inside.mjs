// clients/js without a server: slow and failing storages, tokens that take their time, a door of the test's own. One
// line of JSON out.
import { Outbox } from "../../clients/js/outbox.js";
import { createParley, memory } from "../../clients/js/parley.js";
import { lines } from "../../clients/js/transport/lines.js";

const settled = () => new Promise((done) => setTimeout(done));
const said = (id) => ({ client_message_id: id, content: id });
const refusal = { code: "VALIDATION_ERROR", retryable: false };
const answers = {};

/** An outbox whose server refuses what `refuses` has. */
function outbox(storage, refuses = new Set()) {
  const sent = [];
  const send = async (session_id, { client_message_id: id }) => {
    sent.push(id);
    if (refuses.has(id)) throw refusal;
    return { ok: true, duplicate: true, message_id: id };
  };
  const box = new Outbox(storage, send, () => {});
  return { box, sent, shown: () => box.of("s").map(({ id, state }) => `${id} ${state}`) };
}

// What was said while the storage was read comes behind what was kept.
{
  let read;
  const kept = ["old1", "old2"].map((id, at) => ({ id, session_id: "s", order: at + 1, payload: said(id) }));
  const orders = [];
  const storage = { list: () => new Promise((done) => (read = () => done(kept))), put: (box, { order }) => orders.push(order), remove: () => {} };
  const { box, sent, shown } = outbox(storage);
  box.add("s", said("A"));
  box.open("me");
  const meanwhile = shown();
  const last = box.add("s", said("B"));
  read();
  storage.list = () => kept;
  box.connected(true);
  await last;
  answers.opening = [meanwhile, sent, orders];
}

// A refused message that another tab said once more is sent; one that no storage takes is not lost.
{
  const storage = memory();
  const refuses = new Set(["one"]);
  const [here, there] = [outbox(storage, refuses), outbox(storage, refuses)];
  await here.box.open("me");
  here.box.connected(true);
  await here.box.add("s", said("one")).catch(() => {});
  await there.box.open("me");
  await there.box.connected(true);
  answers.refused = [here.shown(), there.shown()];
  refuses.clear();
  there.box.retry("one");
  await settled();
  await here.box.connected(true);
  answers.elsewhere = [here.shown(), there.shown(), here.sent];

  const failing = { ...memory(), put: () => Promise.reject(new Error("full")) };
  refuses.add("two");
  const { box, sent, shown } = outbox(failing, refuses);
  console.warn = () => {};
  await box.open("me");
  box.connected(true);
  await box.add("s", said("two")).catch(() => {});
  refuses.clear();
  box.connected(false);
  box.retry("two");
  await settled();
  await box.connected(true);
  await settled();
  answers.unkept = [shown(), sent];
}

// Lines: one that was ended while its token was asked for never begins; the word of all is told when it changes.
{
  const words = [];
  let begun = 0;
  let give;
  const rest = { token: () => new Promise((done) => (give = done)) };
  const run = ({ heard }) => new Promise(() => ((begun += 1), heard("welcome", {})));
  const door = lines(rest, { connection: (word) => words.push(word) }, () => ({ run, end: () => {} }));
  const session = (id) => ({ id, cursor: () => ({}), snapshot: () => {}, getSnapshot: () => ({ connection: "online" }) });
  door.enter(session("left"));
  door.leave(session("left"));
  give("token");
  await settled();
  answers.left = begun;
  for (const id of ["s1", "s2"]) {
    door.enter(session(id));
    give("token");
    await settled();
  }
  answers.words = [begun, words];
}

// A client before a server and behind a door that the test plays.
const asked = [];
const told = [];
const listeners = {};
let expired = true;
const page = { sessions: [{ session_id: "s", unread_count: 0 }], total: 2, has_more: true, cursor: "next" };
globalThis.addEventListener = (name, listener) => (listeners[name] = listener);
globalThis.removeEventListener = (name) => delete listeners[name];
globalThis.fetch = async (url, { method, headers }) => {
  const path = url.replace("http://x/api/chat", "");
  asked.push(path);
  const refused = method === "POST" && headers.Authorization === "Bearer a.e30.0";
  const body = refused ? { error: { code: "TOKEN_EXPIRED", retryable: false } }
    : path.startsWith("/files") ? { url: path, expires_at: "9999-01-01" }
    : method === "POST" ? { file_id: "f", file_info: {} } : page;
  return new Response(JSON.stringify(body), { status: refused ? 401 : 200 });
};
let tokens = 0;
let lists = 0;
const kept = memory();
const storage = { ...kept, list: (box) => ((lists += 1), kept.list(box)) };
let on;
const transport = (rest, given) => ((on = given), { enter: ({ id }) => told.push(`enter ${id}`), close: () => told.push("close") });
const parley = createParley({ url: "http://x", getToken: () => `a.e30.${tokens++}`, transport, storage });

await parley.sessions.refresh();
parley.sessions.subscribe(() => {});
const unread = () => parley.sessions.getSnapshot().sessions[0].unread_count;
const session = parley.session("s");
session.snapshot({ session: {}, messages: [{ message_id: "m1", seq: 1, revision: 1, status: "waiting" }], has_more: false, last_seq: 1, last_revision: 1, online: [], read_marks: {}, streams: [], turns: [] });
const start = (seq, revision) => on.event("stream_start", { session_id: "s", message_id: `m${seq}`, seq, revision, sender_type: "agent", sender_id: "1", reply_to: null });
await settled();
start(1, 2);
const again = unread();
start(2, 3);
answers.unread = [again, unread()];

asked.length = 0;
await parley.sessions.loadMore();
answers.more = [asked.filter((path) => path.includes("cursor")), parley.sessions.getSnapshot().total];
answers.uploaded = [(await session.upload(new Blob(["x"]), { post: false }).catch(({ code }) => ({ file_id: code }))).file_id, tokens];

asked.length = 0;
for (let n = 0; n < 600; n += 1) await parley.fileUrl(String(n));
await parley.fileUrl("599");
await parley.fileUrl("0");
answers.addresses = asked.filter((path) => path.startsWith("/files")).length;

const before = lists;
listeners.visibilitychange?.();
await settled();
answers.looked = lists - before;

const another = createParley({ url: "http://x", getToken: () => `a.${btoa(`{"sub":"user ${tokens++}"}`)}.x`, transport, storage });
const first = await another.rest.me();
answers.another = [first === `user ${tokens - 1}`, await another.rest.token(true).catch(({ code }) => code)];
another.close();

parley.session("late").subscribe(() => {});
parley.close();
await settled();
const code = await parley.sessions.refresh().catch(({ code, retryable }) => [code, retryable]);
const { code: uploaded } = await session.upload(new Blob(["x"])).catch((error) => error);
answers.closed = [code, uploaded, told, session.getSnapshot().connection, Object.keys(listeners)];
console.log(JSON.stringify(answers));
process.exit(0);
