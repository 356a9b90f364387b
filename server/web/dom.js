// Small helpers: elements, text, times, colours. Knows nothing of chat.

/** An element: h("button.primary", { type: "button", onclick }, "Send", child). */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const $ = (selector, root = document) => root.querySelector(selector);

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export function time(text) {
  if (!text) return "";
  const date = new Date(text);
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : day.format(date);
}

export function precise(date) {
  return date.toTimeString().slice(0, 8) + "." + String(date.getMilliseconds()).padStart(3, "0");
}

const HUES = 8;
const hues = new Map(); // person -> their hue on this page

function sum(name) {
  let found = 0;
  for (const letter of String(name)) found = (found * 31 + letter.codePointAt(0)) % 997;
  return found;
}

/** One of eight hues, the same for a person everywhere on the page; two share one when all are taken. */
export function hue(name) {
  if (!hues.has(name)) {
    let found = sum(name);
    const taken = new Set([...hues.values()].slice(hues.size - (hues.size % HUES)));
    while (taken.has(found % HUES)) found += 1;
    hues.set(name, found % HUES);
  }
  return `hue-${hues.get(name)}`;
}

/** `kind`: user, agent or session. A picture is shown where it is of this server: another one would learn who reads. */
export function avatar({ id, name = id, picture }, kind = "user") {
  const letters = kind === "agent" ? "✦" : [...String(name)].slice(0, 2).join("");
  const colour = kind === "user" ? hue(id) : `hue-${sum(name) % HUES}`;
  const shown = h(`span.avatar.${colour}`, { "aria-hidden": "true", title: name === id ? undefined : id }, letters);
  if (ours(picture)) shown.append(h("img", { alt: "", src: picture, loading: "lazy", onerror: ({ target }) => target.remove() }));
  return shown;
}

function ours(address) {
  try {
    return Boolean(address) && new URL(address).origin === location.origin;
  } catch {
    return false;
  }
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${(count / 1000).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

export const ICONS = {
  attach: "M16.5 6.5v9a4.5 4.5 0 0 1-9 0v-10a3 3 0 0 1 6 0v9.5a1.5 1.5 0 0 1-3 0V7",
  send: "M4 12 20 4l-5 16-3.5-6.5L4 12Z",
  edit: "M4 20h4L19 9l-4-4L4 16v4Z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  stop: "M7 7h10v10H7Z",
  up: "M7 11v9H4v-9Zm0 0 4-7a2 2 0 0 1 2 2v4h5a2 2 0 0 1 2 2.3l-1 6a2 2 0 0 1-2 1.7H7",
  down: "M7 13V4H4v9Zm0 0 4 7a2 2 0 0 0 2-2v-4h5a2 2 0 0 0 2-2.3l-1-6A2 2 0 0 0 17 4H7",
  again: "M20 12a8 8 0 1 1-2.3-5.7M20 3v5h-5",
  before: "m14 6-6 6 6 6",
  after: "m10 6 6 6-6 6",
  comment: "M4 5h16v11H9l-5 4Z",
  newest: "M12 5v14m0 0 6-6m-6 6-6-6",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  file: "M7 3h7l4 4v14H7ZM14 3v5h4",
};

const COPIED = 2000; // milliseconds that a button says so

/** What `source` shows goes to the clipboard; `button` says that it did. */
export async function copied(button, source) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Without HTTPS there is no such clipboard: what is marked can be copied by hand.
    getSelection().selectAllChildren(source);
    button.textContent = "Marked: copy it with your keys";
    setTimeout(() => (button.textContent = before), 2 * COPIED);
    return;
  }
  button.textContent = "Copied";
  speak("Copied");
  setTimeout(() => (button.textContent = before), COPIED);
}

/** Tells screen readers something, without showing it. */
export function speak(text) {
  $("#spoken").textContent = text;
}

export function notice(text, kind = "info") {
  const line = h(`p.notice.${kind}`, {}, text);
  $("#notices").append(line);
  setTimeout(() => line.remove(), kind === "error" ? 8000 : 4000);
}
