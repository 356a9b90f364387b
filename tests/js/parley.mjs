// clients/js under a test's control: node parley.mjs, in a folder where `parley-client` is installed. Each line in is
// {call, command, ...}, each line out {call, result} or {call, error}. A tab is a client; a reload is another one with
// the same storage.
import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";
import { WebSocket } from "ws";
import { createParley, memory, senderOf } from "parley-client";
import { sse } from "parley-client/sse";
import { websocket } from "parley-client/websocket";

globalThis.crypto ??= webcrypto; // Node 18
globalThis.WebSocket ??= WebSocket; // and 20

const TRANSPORTS = { socketio: undefined, sse, websocket };
const tabs = new Map(); // name -> { parley, faults }
const storages = new Map();

/** A network that notes by what one goes. */
function watched() {
  const went = new Set();
  const { fetch, WebSocket } = globalThis;
  return {
    went,
    fetch: (...given) => (went.add("fetch"), fetch(...given)),
    WebSocket: function (...given) {
      went.add("WebSocket");
      return new WebSocket(...given);
    },
    io: (...given) => (went.add("io"), io(...given)),
  };
}

/** `token` is one, or several: the last of them is good for ever. */
function open({ tab, url, token, storage = tab, transport = "socketio" }) {
  const network = watched();
  const tokens = [token].flat();
  if (!storages.has(storage)) storages.set(storage, memory());
  const parley = createParley({ url, getToken: async () => (tokens.length > 1 ? tokens.shift() : tokens[0]), storage: storages.get(storage), transport: TRANSPORTS[transport], network });
  tabs.set(tab, { parley, faults: [], went: network.went });
}

function close({ tab }) {
  tabs.get(tab).parley.close();
  tabs.delete(tab);
}

/** Subscribes, and sees to it that every snapshot is in order and shares what did not change. */
function watch({ tab, session }) {
  const { parley, faults } = tabs.get(tab);
  const store = session ? parley.session(session) : parley.sessions;
  let before = store.getSnapshot();
  store.subscribe(() => {
    const now = store.getSnapshot();
    if (session) check(before, now, faults);
    before = now;
  });
}

/** Looks at a session and is gone before its snapshot has come. */
async function glance({ tab, session }) {
  const { parley } = tabs.get(tab);
  const store = parley.session(session);
  const end = store.subscribe(() => {});
  await parley.open();
  end();
  parley.leave(store);
  await parley.presence("online"); // answered behind both
}

function check(before, now, faults) {
  const seqs = now.messages.map(({ seq }) => seq);
  if (seqs.some((seq, at) => at && seq <= seqs[at - 1])) faults.push(`out of order: ${seqs}`);
  const ids = new Set([...now.messages, ...now.pending].map((each) => each.client_message_id ?? each.message_id));
  if (ids.size !== now.messages.length + now.pending.length && !now.pending.length) faults.push("shown twice");
  for (const message of before.messages) if (!Object.isFrozen(message)) Object.freeze(message);
}

const storeOf = ({ tab, session }) => {
  const { parley } = tabs.get(tab);
  return session ? parley.session(session) : parley.sessions;
};

/** What its reader sees. */
const state = (of) => ({ ...storeOf(of).getSnapshot(), faults: tabs.get(of.tab).faults });

/** The first snapshot for which `holds`, a function's text, says so. */
async function until({ holds, ...of }) {
  const store = storeOf(of);
  const test = new Function("store", `return (${holds})(store)`);
  if (!test(store.getSnapshot())) {
    await new Promise((resolve) => {
      const end = store.subscribe(() => test(store.getSnapshot()) && (end(), resolve()));
    });
  }
  return state(of);
}

/** Calls a method; a failure's code is its result. */
async function act({ method, args = [], ...of }) {
  try {
    return (await storeOf(of)[method](...args)) ?? null;
  } catch ({ code, message, retryable }) {
    return { failed: code, message, retryable };
  }
}

const upload = ({ name, content, more, ...of }) =>
  act({ ...of, method: "upload", args: [new Blob([content], { type: "text/plain" }), { name, ...more }] });

/** Of the client itself. */
const ask = ({ tab, method, args = [] }) => tabs.get(tab).parley[method](...args);

/** Something that a reader may do to what is shown, without waiting; what the server will not have is no fault. */
const LAWFUL = ["UNAVAILABLE", "STREAM_OPEN", "STREAM_CLOSED", "STREAM_NOT_FOUND", "MESSAGE_NOT_FOUND", "CONFLICT", "AGENT_BUSY", "LIMIT_REACHED"];
function fiddle({ kind, number, ...of }) {
  const store = storeOf(of);
  const { faults } = tabs.get(of.tab);
  const { messages, me } = store.getSnapshot();
  const pick = (some) => some[number % (some.length || 1)]?.message_id;
  const mine = pick(messages.filter((each) => each.sender_id === me && !each.deleted_at));
  const any = pick(messages.filter(({ sender_type }) => sender_type === "agent"));
  const sibling = messages.find(({ siblings }) => siblings?.length > 1);
  const ways = {
    edit: () => mine && store.edit(mine, `edited ${number}`),
    branch: () => mine && store.edit(mine, `otherwise ${number}`, { branch: true }),
    remove: () => mine && store.remove(mine),
    regenerate: () => any && store.regenerate(any),
    select: () => sibling && store.select(sibling.siblings[number % sibling.siblings.length]),
    stop: () => store.stop(),
    read: () => store.markRead(),
    typing: () => store.typing(),
    older: () => store.loadOlder(),
  };
  Promise.resolve(ways[kind]()).catch(({ code, message }) => LAWFUL.includes(code) || faults.push(`${kind}: ${code} ${message}`));
}

/** Says it, in the order of the calls, and does not wait. */
function say({ text, more, ...of }) {
  storeOf(of).send({ content: text, client_message_id: text, ...more }).catch(() => {});
}

/** All of the path, as this reader gets at it. */
async function whole(of) {
  const store = storeOf(of);
  while (store.getSnapshot().hasOlder) await store.loadOlder(200);
  const snapshot = store.getSnapshot();
  return { ...state(of), senders: snapshot.messages.map((message) => senderOf(snapshot, message)) };
}

/** By what it has gone to the network. */
const went = ({ tab }) => [...tabs.get(tab).went].sort();

const commands = { went, open, close, watch, glance, state, until, act, upload, ask, fiddle, say, whole };

for await (const line of createInterface({ input: process.stdin })) {
  const { call, command, ...given } = JSON.parse(line);
  Promise.resolve().then(() => commands[command](given)).then(
    (result = null) => process.stdout.write(JSON.stringify({ call, result }) + "\n"),
    (error) => process.stdout.write(JSON.stringify({ call, error: String(error.stack) }) + "\n"));
}
process.exit(0);
