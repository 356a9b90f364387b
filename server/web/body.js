// What a message says, as elements: each of its parts in the order of the message. Knows no room.
import { Ask, toolNamed } from "./asks.js";
import { h } from "./dom.js";
import { cost, does, shortfall } from "./endings.js";
import { SHOWN, json } from "./json.js";
import { Markdown, address, link } from "./markdown.js";

/** `means`: `file(file)` makes the element of an uploaded file; the others are those of `Ask`. */
export class Body {
  constructor(means) {
    this.means = means;
    this.element = h("div.body");
    this.views = new Map(); // key -> what shows it
  }

  update(message) {
    const views = new Map();
    for (const { key, kind, value } of blocks(message)) {
      const old = this.views.get(key);
      const view = old?.kind === kind ? old : Object.assign(new VIEWS[kind](this), { kind });
      view.update(value, message);
      views.set(key, view);
    }
    this.views = views;
    place(this.element, [...views.values()].map(({ element }) => element));
  }
}

/** `elements`, and nothing else, as the children of `parent`; those that are in their place are not touched. */
function place(parent, elements) {
  elements.forEach((element, at) => {
    if (parent.children[at] !== element) parent.insertBefore(element, parent.children[at] ?? null);
  });
  while (parent.children.length > elements.length) parent.lastElementChild.remove();
}

const OPEN = new Set(["streaming", "waiting"]);

/** What there is to show: { key, kind, value }. Sources that follow each other are one list. */
function blocks(message) {
  if (message.deleted_at) return [{ key: "deleted", kind: "plain", value: { text: "This message was deleted." } }];
  const uploads = new Map((message.files ?? []).map((file) => [file.file_id, file]));
  const found = message.parts.map((part) => {
    const upload = part.type === "file" && uploads.get(part.file_id);
    uploads.delete(part.file_id);
    return { key: `part ${part.id}`, kind: upload ? "upload" : kindOf(part, message), value: upload || part };
  });
  const shown = joined(found.filter(({ kind }, at) => kind && (kind !== "step" || (at && at < found.length - 1))));
  const extra = (key, kind, value) => value && shown.push({ key, kind, value });
  for (const file of uploads.values()) extra(`file ${file.file_id}`, "upload", file);
  if (message.status === "streaming" && !shown.length) extra("part text", kindOf({ type: "text" }, message), { text: "" });
  const agent = message.sender_type === "agent";
  const short = agent ? shortfall(message, !shown.length) : null;
  for (const each of message.interrupts ?? []) extra(`ask ${each.id}`, "ask", each);
  extra("doing", "doing", message.status === "streaming" && message.doing && does(message.doing));
  extra("passing", "passing", message.status === "streaming" && message.passing);
  extra("error", "problem", message.error && (message.error.message || message.error.code));
  extra("ending", "ending", short);
  extra("cost", "cost", agent && !OPEN.has(message.status) && cost(message));
  return shown;
}

function kindOf({ type }, message) {
  if (type === "text") return message.sender_type === "user" ? "plain" : "text";
  return Object.hasOwn(VIEWS, type) ? type : null; // a type that comes later shows nothing here
}

function joined(found) {
  const result = [];
  for (const each of found) {
    const last = result.at(-1);
    if (each.kind !== "source") result.push(each);
    else if (last?.kind === "source") last.value.push(each.value);
    else result.push({ ...each, value: [each.value] });
  }
  return result;
}

/** People's own words, as they wrote them. */
class Plain {
  constructor() {
    this.element = h("p.text");
  }

  update({ text }) {
    if (this.element.textContent !== text) this.element.textContent = text;
    spoken(this.element, text);
  }
}

class Text {
  constructor() {
    this.markdown = new Markdown();
    this.element = this.markdown.element;
  }

  update({ text }, message) {
    this.markdown.update(text, message.status === "streaming");
    spoken(this.element, text);
  }
}

/** Korean has spaces between its words, and breaks at them. */
function spoken(element, text) {
  if (!element.lang && /[\uac00-\ud7a3]/.test(text.slice(0, 2000))) element.lang = "ko";
}

/** What can be folded: open while it is being made, until the reader says otherwise. What is folded costs nothing. */
class Folded {
  constructor(kind) {
    this.title = h("strong");
    this.note = h("span.note");
    this.summary = h("summary", { onclick: () => (this.touched = true) }, this.title, this.note);
    this.inside = h("div.inside");
    this.element = h(`details.part.${kind}`, { ontoggle: () => this._draw() }, this.summary, this.inside);
  }

  _show(title, note, live) {
    this.title.textContent = title;
    this.note.textContent = note;
    if (!this.touched) this.element.open = live;
    this._draw();
  }

  _draw() {
    if (this.element.open) this.draw();
  }
}

class Reasoning extends Folded {
  constructor() {
    super("reasoning");
    this.markdown = new Markdown();
    this.inside.append(this.markdown.element);
  }

  update(part, message) {
    this.part = part;
    this.live = message.status === "streaming" && message.parts.at(-1) === part;
    const words = part.text.length > SHOWN ? "long" : `${part.text.split(/\s+/).filter(Boolean).length} words`;
    this._show(this.live ? "Thinking…" : "Reasoning", part.text ? words : "not shown by the model", this.live);
  }

  draw() {
    this.markdown.update(this.part.text, this.live);
  }
}

const STATES = {
  input_streaming: "writes its input…", input_available: "runs…", approval_requested: "waits for approval", approval_responded: "approval answered",
  output_available: "done", output_error: "failed", output_denied: "not allowed",
};
const RUNS = new Set(["input_streaming", "input_available"]);
const BY = { provider: "carried out by the model's provider", agent: "carried out by the agent", client: "carried out by a page" };

class Tool extends Folded {
  constructor() {
    super("tool");
  }

  update(part, message) {
    this.part = part;
    const open = message.status === "streaming";
    const runs = RUNS.has(part.state);
    this.element.dataset.state = part.state;
    this._show(toolNamed(part), runs && !open ? (message.status === "waiting" ? "waits" : "not carried out") : (STATES[part.state] ?? part.state), open && runs);
  }

  draw() {
    const { input, input_text, output, error, executed_by } = this.part;
    if (this.drawn === this.part) return; // a reader may be marking some of it
    this.drawn = this.part;
    const about = BY[executed_by];
    const made = [
      about && h("p.label", {}, about),
      ...labelled("Input", input ?? input_text),
      ...labelled("Output", output),
      ...labelled("Error", error?.message ?? error),
    ];
    this.inside.replaceChildren(...made.filter(Boolean));
  }
}

function labelled(label, value) {
  if (value === undefined || value === null || value === "") return [];
  return [h("p.label", {}, label), json(label, value)];
}

class Data extends Folded {
  constructor() {
    super("data");
  }

  update(part) {
    this.part = part;
    this._show(part.name, "data", false);
  }

  draw() {
    if (this.drawn === this.part) return;
    this.drawn = this.part;
    this.inside.replaceChildren(json(this.part.name, this.part.data));
  }
}

class Sources {
  constructor({ means }) {
    this.means = means;
    this.element = h("ul.sources", { "aria-label": "Sources" });
  }

  update(sources) {
    const key = JSON.stringify(sources);
    if (this.key === key) return;
    this.key = key;
    this.element.replaceChildren(...sources.map((source) => h("li", {}, this._source(source))));
  }

  _source({ url, file_id, title, snippet, media_type }) {
    if (!url) return this.means.file({ file_id, file_info: { name: title || "file", type: media_type ?? "" } });
    return link(url, snippet, [title || hostOf(url)]);
  }
}

function hostOf(url) {
  const target = address(url);
  return (target && new URL(target).host) || url;
}

class File {
  constructor({ means }) {
    this.means = means;
    this.element = h("div");
  }

  update({ file_id, url, name, media_type }) {
    const key = `${file_id} ${url}`;
    if (this.key === key) return;
    this.key = key;
    const shown = file_id
      ? this.means.file({ file_id, file_info: { name: name || "file", type: media_type ?? "" } })
      : link(url, null, [`${name || hostOf(url)} (${media_type})`]);
    this.element.replaceChildren(shown);
  }
}

/** A file of the message, with all that the server says of it. */
class Upload {
  constructor({ means }) {
    this.means = means;
  }

  update(file) {
    this.element ??= this.means.file(file);
  }
}

class Step {
  constructor() {
    this.element = h("hr.step", { "aria-label": "Next step" });
  }

  update() {}
}

/** Data that is shown and not kept. */
class Passing {
  constructor() {
    this.element = h("p.passing");
  }

  update({ name, data }) {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.element.textContent = `${name}: ${text.slice(0, 300)}`;
  }
}

/** A line of words, by its class. */
function line(kind, attributes) {
  return class {
    constructor() {
      this.element = h(`p.${kind}`, attributes);
    }

    update(text) {
      this.element.textContent = text;
    }
  };
}

const VIEWS = {
  plain: Plain, text: Text, reasoning: Reasoning, tool: Tool, data: Data, source: Sources, file: File, step: Step,
  upload: Upload, ask: Ask, passing: Passing, problem: line("problem"), doing: line("doing", { role: "status" }), ending: line("ending"), cost: line("cost"),
};
