// A conversation with an agent that survives a refresh, a lost network and a restart of the server.
import { io } from "./socket.io.esm.min.js";

const SERVER = new URLSearchParams(location.search).get("server") ?? "http://127.0.0.1:8003";
const $ = (id) => document.getElementById(id);

// In your application your own backend signs the token; this one is for development.
const { token } = await post("/api/dev/token", { sub: "page" });
// The conversation's id is all that has to outlive the page.
const session_id = (localStorage.session ??=
  (await post("/api/chat/sessions", { agent_id: 1 }, token)).session_id);

const socket = io(SERVER, { auth: { token }, transports: ["websocket", "polling"], tryAllTransports: true });
// In the back/forward cache nobody is here, but the browser would answer pings. Shown again, it comes back by itself.
addEventListener("pagehide", () => socket.io.engine.close());
let revision = null; // all that changed up to here is on the page; null: not joined yet
let lineage; // of which history of the database
let writing = null; // the answer that is being written

socket.on("connect", () => {
  $("status").textContent = "Connected";
  if (socket.recovered && revision !== null) return; // what was missed has come already
  socket.emit("join", { session_id, ...known() }, entered);
});
socket.on("disconnect", () => ($("status").textContent = "Connecting again…"));

socket.on("session", ({ event }) => {
  // The database went back: the history that this page shows is not all there any more.
  if (event === "reset") socket.emit("join", { session_id, ...known() }, entered);
});

socket.on("message", show);
socket.on("message_updated", show);
socket.on("message_deleted", ({ message_id }) => $(message_id)?.remove());
socket.on("stream_start", (start) => show({ ...start, content: "", status: "streaming" }));
socket.on("stream_chunk", ({ message_id, content }) => $(message_id).append(content));
socket.on("stream_end", (end) => {
  if (end.content !== undefined) $(end.message_id).textContent = end.content; // chunks had been lost
  show(end);
});

const known = () => revision && { after_revision: revision, lineage };

// Called as the reply comes; after an `await` it might be later than what comes behind it.
function entered(joined) {
  if (!joined.ok) return void ($("status").textContent = joined.error.message);
  if (joined.reset) $("messages").replaceChildren(); // the database went back: this instead
  joined.messages.forEach(show);
  joined.streams.forEach(({ message_id, content }) => ($(message_id).textContent = content));
  ({ last_revision: revision, lineage } = joined);
}

function show(message) {
  const { message_id, sender_type, content, status = "complete", deleted_at } = message;
  let bubble = $(message_id);
  if (!bubble) {
    bubble = Object.assign(document.createElement("article"), { id: message_id, className: sender_type });
    $("messages").append(bubble);
  }
  if (content !== undefined) bubble.textContent = content;
  bubble.dataset.status = status;
  bubble.hidden = Boolean(deleted_at);
  if (status === "streaming") writing = message_id;
  else if (writing === message_id) writing = null;
  $("stop").hidden = !writing;
  if (message.revision) revision = Math.max(revision ?? 0, message.revision);
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const content = $("text").value;
  $("text").value = "";
  // The same id with every repeat: it is stored once, however often it is sent. (Over http no page has `randomUUID`.)
  const message = { session_id, content, client_message_id: crypto.getRandomValues(new Uint32Array(4)).join("-") };
  for (;;) {
    const reply = await socket.timeout(10_000).emitWithAck("message", message).catch(() => null);
    if (reply?.ok) return;
    if (reply && !reply.error.retryable) return void ($("status").textContent = reply.error.message);
    await new Promise((resolve) => setTimeout(resolve, reply?.error.retry_after ?? 1000));
  }
});
$("stop").addEventListener("click", () => socket.emit("stream_cancel", { session_id, message_id: writing }));

async function post(path, body, token) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  return (await fetch(SERVER + path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}
