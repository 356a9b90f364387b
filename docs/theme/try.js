// Requests to try: each goes to the server that shows this page, as the person at the top of it.
//
// Values in braces ({session_id}) are the reader's own. A REST call is sent as its line for curl says, a command over
// Socket.IO by the official client, where the server has it (`make run` fetches it).
import { made } from "./site.js";

const root = new URL(`${document.documentElement.dataset.root}/../`, location.href); // where the service is
const own = { token: "", session_id: "", message_id: "", answer_id: "", file_id: "" };
const KEPT = "parley-docs";
const MOST = 100_000; // characters that are shown of an answer
try { Object.assign(own, JSON.parse(sessionStorage.getItem(KEPT) ?? "{}")); } catch { /* not ours */ }

const filled = (text) => text.replace(/\{(\w+)\}/g, (all, name) => (name === "url" ? root.href.replace(/\/$/, "") : own[name] || all));
const pretty = (text) => { try { return JSON.stringify(JSON.parse(text), null, 1); } catch { return text; } };

async function send(method, path, body, token = own.token) {
  return fetch(new URL(path.slice(1), root), {
    method,
    headers: { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body,
  });
}

async function post(path, body) {
  const answer = await send("POST", path, JSON.stringify(body));
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status} ${said.error?.message ?? ""}`);
  return said;
}

// --- who

const inputs = {}, service = made("input", { type: "checkbox", ariaLabel: "as a service" }), told = made("output");
function keep() {
  for (const [name, input] of Object.entries(inputs)) own[name] = input.value.trim();
  try { sessionStorage.setItem(KEPT, JSON.stringify(own)); } catch { /* no storage: for this page alone */ }
  draw();
}

function draw() {
  for (const each of document.querySelectorAll("[data-shown] code")) {
    each.dataset.text ??= each.textContent;
    each.textContent = filled(each.dataset.text).replaceAll(own.token || "\0", own.token ? `${own.token.slice(0, 9)}…` : "");
  }
  for (const each of document.querySelectorAll(".try textarea")) {
    each.dataset.text ??= each.value;
    if (!each.dataset.changed) each.value = filled(each.dataset.text);
  }
}

/** Somebody for development, with a session and an answer in it. */
async function begin() {
  told.textContent = "…";
  try {
    Object.assign(own, { token: "", file_id: "" });
    own.token = (await post("/api/dev/token", { sub: "reader", role: service.checked ? "service" : "user" })).token;
    own.session_id = (await post("/api/chat/sessions", { title: "From the documentation", agent_id: 1, ...(service.checked ? { user_id: "reader" } : {}) })).session_id;
    const answer = await post(`/api/chat/sessions/${own.session_id}/messages/stream`, { content: "Hello", stream: false });
    [own.message_id, own.answer_id] = [answer.request.message_id, answer.message.message_id];
    told.textContent = "Yours: a token, a session, a question and its answer. The requests below have them filled in.";
  } catch (error) {
    told.textContent = `This server makes no tokens for development (${error.message}): paste one that your backend made.`;
  }
  for (const [name, input] of Object.entries(inputs)) input.value = own[name];
  keep();
}

for (const place of document.querySelectorAll("[data-who]")) {
  const start = made("button", { textContent: "Get a token and a session", onclick: begin });
  place.append(start, made("label", {}, service, "as a service"));
  for (const name of ["token", "session_id", "message_id", "answer_id"]) {
    inputs[name] = made("input", { value: own[name], autocomplete: "off", spellcheck: false, oninput: keep });
    place.append(made("label", {}, name, inputs[name]));
  }
  place.append(told);
}
draw();

// --- requests

function shower(form) {
  const place = form.querySelector(".answer");
  place.hidden = false;
  place.textContent = "…";
  return (text) => (place.textContent = text.length > MOST ? `${text.slice(0, MOST)} …` : text);
}

async function call(form, show) {
  const body = form.querySelector("textarea")?.value;
  const { method, path } = form.dataset;
  const answer = await send(method, filled(path), body, "public" in form.dataset ? "" : own.token);
  const head = `${answer.status} ${answer.statusText}\n`;
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let piece; reader && text.length < MOST && !(piece = await reader.read()).done; ) show(head + (text += piece.value));
  reader?.cancel();
  show(head + pretty(text));
}

let socket, of;
/** One connection for the page; a new one for another token. */
async function connected() {
  if (socket?.connected && of === own.token) return socket;
  const { io } = await import(new URL("vendor/socket.io.esm.min.js", root)).catch(() => {
    throw new Error("This server has not the Socket.IO client for pages: make run fetches it. The line above works in a program of yours.");
  });
  socket?.close();
  of = own.token;
  socket = io(root.origin, { path: `${root.pathname}socket.io/`, auth: { token: of }, forceNew: true });
  await new Promise((done, failed) => socket.once("connect", done).once("connect_error", failed));
  return socket;
}

async function emit(form, show) {
  const link = await connected();
  const payload = JSON.parse(form.querySelector("textarea").value);
  const lines = [];
  const add = (name, data) => lines.length < 60 && show(lines.push(`${name} ${JSON.stringify(data, null, 1)}`) && lines.join("\n"));
  link.offAny();
  if (payload.session_id && !["join", "leave"].includes(form.dataset.command)) await link.emitWithAck("join", { session_id: payload.session_id, limit: 1 });
  link.onAny(add);
  add("reply", await link.timeout(15000).emitWithAck(form.dataset.command, payload));
}

for (const form of document.querySelectorAll(".try form")) {
  const area = form.querySelector("textarea");
  if (area) area.oninput = () => (area.dataset.changed = "yes");
  form.onsubmit = async (event) => {
    event.preventDefault();
    const show = shower(form);
    await (form.dataset.command ? emit(form, show) : call(form, show)).catch((error) => show(error.message));
  };
}
