// A chat page: sessions, history, answers as they are written, typing, presence, reconnects, files.
import { createParley, senderOf } from "parley-client";

const { parley: url = "http://127.0.0.1:8003", user: sub = "me" } = Object.fromEntries(new URLSearchParams(location.search));
const signed = () => fetch(`${url}/api/dev/token`, { method: "POST", body: JSON.stringify({ sub }) }); // by your own backend
const parley = createParley({ url, getToken: async () => (await (await signed()).json()).token });
const $ = (id) => document.getElementById(id);
const made = (tag, textContent, more) => Object.assign(document.createElement(tag), { textContent, ...more });
const here = () => parley.session(location.hash.slice(1));

function show() {
  const { messages, pending, ...now } = here().getSnapshot();
  const shown = (message) => made("li", `${senderOf(now, message).name}: ${message.content}`, { className: message.status });
  $("messages").replaceChildren(...[...messages, ...pending].map(shown));
  $("state").textContent = [now.error?.message ?? now.connection, ...Object.keys(now.online)].join(" · ");
  $("typing").textContent = [...now.typing, ...now.uploads.map(({ name }) => name)].map((each) => `${each} …`).join();
  here().markRead();
}
const row = (each) => made("a", `${each.title ?? each.last_message ?? "…"} (${each.unread_count})`, { href: `#${each.session_id}` });
parley.sessions.subscribe(() => $("sessions").replaceChildren(...parley.sessions.getSnapshot().sessions.map(row)));
let leave;
const enter = () => (leave?.(), (leave = location.hash ? here().subscribe(show) : null), show());
$("new").onclick = async () => (location.hash = (await parley.sessions.create({ agent_id: 1 })).session_id);
$("say").onsubmit = (event) => (event.preventDefault(), here().send($("text").value), event.target.reset());
$("text").oninput = () => here().typing();
$("file").onchange = () => here().upload($("file").files[0]);
$("stop").onclick = () => here().stop();
addEventListener("hashchange", enter), enter();
