// Every frame in and out, newest last. Keeps a bounded number; knows nothing of chat.
import { $, bytes, h, hue, precise } from "./dom.js";
import { isPing, nameOf } from "./frames.js";

const KEPT = 1000;
const SHOWN = 250;

export class Inspector {
  constructor() {
    this.rows = [];
    this.total = 0;
    this.paused = false;
    this.list = $("#frames");
    this.filter = $("#frame-filter");
    this.pings = $("#pings");
    this.waiting = [];
    this.scheduled = false;
    this.list.addEventListener("keydown", (event) => this._key(event));
    this.filter.addEventListener("input", () => this.redraw());
    this.pings.addEventListener("change", () => this.redraw());
    $("#clear").addEventListener("click", () => {
      this.rows = [];
      this.redraw();
    });
    $("#pause").addEventListener("click", ({ currentTarget }) => {
      this.paused = !this.paused;
      currentTarget.setAttribute("aria-pressed", String(this.paused));
      currentTarget.textContent = this.paused ? "Go on" : "Pause";
      if (!this.paused) this.redraw();
    });
  }

  add(who, direction, label, text) {
    const row = { at: new Date(), who, direction, label, text: String(text), id: ++this.total };
    row.ping = isPing(label, row.text);
    row.name = nameOf(label, row.text);
    this.rows.push(row);
    if (this.rows.length > KEPT) this.rows.splice(0, this.rows.length - KEPT);
    this.waiting.push(row);
    if (this.scheduled) return;
    this.scheduled = true;
    // Once a frame, however many came: a hidden tab collects them.
    requestAnimationFrame(() => {
      this.scheduled = false;
      const fresh = this.waiting.splice(0).filter((each) => this._fits(each));
      $("#frame-count").textContent = String(this.total);
      if (!this.paused) this._append(fresh.slice(-SHOWN));
    });
  }

  /** One stop of the Tab key, however many frames: the arrows go through them. */
  _key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const on = event.target.closest("summary, ol");
    if (!step || !on) return;
    const summaries = [...this.list.querySelectorAll("summary")];
    const at = summaries.indexOf(on);
    const next = at < 0 ? summaries.at(step > 0 ? 0 : -1) : summaries[at + step];
    next?.focus();
    event.preventDefault();
  }

  redraw() {
    this.waiting.length = 0;
    this.list.replaceChildren();
    this._append(this.rows.filter((row) => this._fits(row)).slice(-SHOWN));
  }

  _fits(row) {
    const wanted = this.filter.value.trim().toLowerCase();
    if (row.ping && !this.pings.checked) return false;
    return !wanted || `${row.who} ${row.label} ${row.text}`.toLowerCase().includes(wanted);
  }

  _append(rows) {
    if (!rows.length) return;
    const { list } = this;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    list.append(...rows.map(line));
    while (list.childElementCount > SHOWN) list.firstElementChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }
}

function line(row) {
  const arrow = row.direction === "out" ? "↑" : "↓";
  const said = row.direction === "out" ? "sent by" : "received by";
  const details = h(
    "details",
    {},
    h(
      "summary",
      { tabindex: "-1" },
      h("span.arrow", { "aria-hidden": "true" }, arrow),
      h(`span.dot.${hue(row.who)}`, { title: row.who, "aria-hidden": "true" }),
      h("span.frame-name", {}, row.name),
      h("span.hidden", {}, ` ${said} ${row.who}: `),
      h("span.frame-text", {}, row.text.slice(0, 160)),
      h("span.frame-size", {}, bytes(row.text.length)),
    ),
  );
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) {
      details.append(
        h("p.frame-meta", {}, `${precise(row.at)} · ${row.who} · ${row.label}`),
        h("pre", { tabindex: "0", role: "region", "aria-label": "The whole frame" }, pretty(row.text)),
      );
    }
  });
  return h(`li.frame.${row.direction}`, {}, details);
}

function pretty(text) {
  const start = text.search(/[[{]/);
  if (start < 0) return text;
  try {
    return text.slice(0, start) + JSON.stringify(JSON.parse(text.slice(start)), null, 2);
  } catch {
    return text;
  }
}
