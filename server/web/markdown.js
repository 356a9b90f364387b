// Markdown as elements: a library reads it into tokens, and each token becomes an element or text. Text never becomes
// HTML, an address never loads anything. Knows nothing of chat.
import { ROOT } from "./api.js";
import { copied, h } from "./dom.js";

/** An emphasis, code or link whose end is still to come is shown as one; nothing else is put into the text. */
const HEALING = { linkMode: "text-only", katex: false, setextHeadings: false, comparisonOperators: false, singleTilde: false };
let lexer = null;
let heal = (text) => text;

/** Whether the libraries are where the server has them. Without them text is shown as it was written. */
export async function markdown() {
  try {
    const [marked, remend] = await Promise.all([import(`${ROOT}/vendor/marked.esm.js`), import(`${ROOT}/vendor/remend.js`)]);
    lexer = marked.lexer;
    heal = (text) => remend.default(text, HEALING);
  } catch {
    return false;
  }
  return true;
}

/** Quotes and lists within each other, beyond which text is shown as it was written. */
const DEEPEST = 20;
/** Characters of one block beyond which an emphasis that is open is not closed for show: it takes long, and rarely is one. */
const HEALED = 20000;

/** A text that may grow. Blocks that no further text can change are read once. */
export class Markdown {
  constructor() {
    this.element = h("div.text.markdown");
    this._begin();
  }

  _begin() {
    this.blocks = []; // { token, node } of each
    this.sure = 0; // so many of them are read for good,
    this.settled = ""; // from this text
    this.element.replaceChildren();
  }

  /** `growing`: more may come, and what only looks like text so far is held back. */
  update(text, growing = false) {
    if (text === this.text && growing === this.growing) return;
    Object.assign(this, { text, growing });
    const source = text.replaceAll("\r\n", "\n");
    if (!lexer) return void (this.element.textContent = source);
    if (!this.blocks.length) this.element.replaceChildren();
    try {
      if (growing) this._more(source);
      else this._whole(source);
    } catch {
      // Nested too deeply for the library.
      this._begin();
      this.element.textContent = source;
    }
  }

  /** As it is when it is read at once; where it names references, blocks before them may be other ones. */
  _whole(source) {
    const tokens = lexer(source);
    if (Object.keys(tokens.links).length) this._begin();
    this.blocks = fit(this.element, this.blocks, tokens.filter(visible), block);
    this.sure = 0;
    this.settled = "";
  }

  _more(source) {
    if (!source.startsWith(this.settled)) this._begin();
    const rest = steady(source.slice(this.settled.length));
    const tokens = lexer(rest);
    const last = tokens.findLastIndex(({ type }) => type !== "space");
    const sure = tokens.slice(0, Math.max(0, last));
    const read = sure.map(({ raw }) => raw).join("");
    const tail = rest.slice(read.length);
    const healed = tail.length < HEALED && tokens[last]?.type !== "code" ? lexer(heal(tail)) : tokens.slice(sure.length);
    const shown = this.blocks.splice(this.sure);
    this.blocks.push(...fit(this.element, shown, [...sure, ...healed].filter(visible), block));
    if (!rest.startsWith(read)) return; // the library has put something in: all of it again with the next text
    this.settled += read;
    this.sure += sure.filter(visible).length;
  }
}

const visible = ({ type }) => type !== "space" && type !== "def";

/** Characters of a line, beyond which it is the beginning of no block's mark. */
const LINE = 1000;
const UNSURE = /(?:[*_~`]+|!?\[)?$/;

/**
 * What of the end of a growing text can be shown: not the beginning of a fence, of a list's, a heading's or an
 * emphasis' mark, nor the head of a table before the line below it has come. They would look like text first.
 */
export function steady(text) {
  const end = text.slice(-LINE);
  // The patterns below go over a line once for each of its letters.
  if (end.length === LINE && !end.includes("\n")) return text.slice(0, text.length - UNSURE.exec(end)[0].length);
  const lines = text.slice(text.lastIndexOf("\n", text.lastIndexOf("\n") - 1) + 1).split("\n");
  const last = lines.at(-1);
  const row = /^[ \t>]*\|/;
  let held = "";
  if (/^[ \t>]*(?:[-=*+_#~`]+|`{3,}[^`]*`*|~{3,}.*)[ \t]*$/.test(last)) held = last;
  else if (lines.length > 1 && row.test(lines[0]) && /^[ \t>]*[|: -]*$/.test(last) && !beside(text, lines)) held = lines.join("\n");
  else if (row.test(last) && !(lines.length > 1 && row.test(lines[0]))) held = last;
  else [held] = UNSURE.exec(last);
  return text.slice(0, text.length - held.length);
}

/** Whether the line before these two is of a table too. */
function beside(text, lines) {
  const end = text.length - lines.join("\n").length - 1;
  return /^[ \t>]*\|/.test(text.slice(text.lastIndexOf("\n", end - 1) + 1, Math.max(0, end)));
}

/** Bring the last children of `parent` from `shown` to `tokens`; what is the same stays as it is. */
function fit(parent, shown, tokens, make) {
  const result = tokens.map((token, at) => {
    const old = shown[at];
    if (old?.token.raw === token.raw && old.token.type === token.type && old.token.loose === token.loose) return old;
    if (old && grown(old, token)) return Object.assign(old, { token });
    const made = { token, node: make(token) };
    if (old) old.node.replaceWith(made.node);
    else parent.append(made.node);
    return made;
  });
  for (const { node } of shown.slice(tokens.length)) node.remove();
  return result;
}

/** Whether the element of a longer one of its kind could be brought up to date. */
function grown(old, token) {
  if (old.token.type !== token.type) return false;
  if (token.type === "code" && old.token.lang === token.lang && token.text.startsWith(old.token.text)) {
    old.node.querySelector("code").firstChild.appendData(token.text.slice(old.token.text.length));
    return true;
  }
  if (token.type === "list" && old.token.ordered === token.ordered && old.token.start === token.start && old.token.loose === token.loose) {
    old.items ??= old.token.items.map((item, at) => ({ token: item, node: old.node.children[at] }));
    old.items = fit(old.node, old.items, token.items, (item) => listItem(item, 0));
    return true;
  }
  return false;
}

const all = (tokens, make, depth) => (tokens ?? []).filter(visible).map((token) => make(token, depth));

function block(token, depth = 0) {
  if (depth > DEEPEST) return h("p", {}, token.raw);
  switch (token.type) {
    case "heading":
      // The page's own headings stand above a message's.
      return h(`h${Math.min(6, token.depth + 2)}`, {}, inlines(token));
    case "paragraph":
    case "text":
      return h("p", {}, inlines(token));
    case "code":
      return code(token);
    case "blockquote":
      return h("blockquote", {}, all(token.tokens, block, depth + 1));
    case "list":
      return h(token.ordered ? "ol" : "ul", { start: token.ordered && token.start !== 1 ? token.start : null }, token.items.map((item) => listItem(item, depth)));
    case "table":
      return table(token);
    case "hr":
      return h("hr");
    case "checkbox":
      return h("span", {}, inline(token));
    default:
      return h("p", {}, token.raw.trim()); // HTML: as it was written
  }
}

function listItem(item, depth) {
  return h(item.task ? "li.task" : "li", {}, item.tokens.filter(visible).map((token) => (token.type === "text" ? h("span", {}, inlines(token)) : block(token, depth + 1))));
}

function code({ text, lang }) {
  const name = (lang ?? "").split(/\s/)[0].slice(0, 40);
  const pre = h("pre", { tabindex: "0", role: "group", "aria-label": `Code${name && `: ${name}`}` }, h("code", {}, document.createTextNode(text)));
  const copy = h("button.button.small", { type: "button", onclick: () => copied(copy, pre) }, "Copy");
  return h("div.code", {}, h("div.code-head", {}, h("span", {}, name || "code"), copy), pre);
}

function table({ header, rows }) {
  const cells = (tag, row) => h("tr", {}, row.map((cell) => h(cell.align ? `${tag}.to-${cell.align}` : tag, {}, inlines(cell))));
  return h(
    "div.table",
    { tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", {}, h("thead", {}, cells("th", header)), h("tbody", {}, rows.map((row) => cells("td", row)))),
  );
}

const inlines = (token, depth = 0) => (token.tokens ? token.tokens.map((each) => inline(each, depth + 1)) : [decoded(token.text)]);

function inline(token, depth = 0) {
  if (depth > DEEPEST) return token.raw;
  switch (token.type) {
    case "strong":
    case "em":
    case "del":
      return h(token.type, {}, inlines(token, depth));
    case "codespan":
      return h("code", {}, token.text);
    case "br":
      return h("br");
    case "checkbox":
      return token.checked ? "☑ " : "☐ ";
    case "link":
      return link(token.autolink ? token.href : decoded(token.href), token.title, inlines(token, depth));
    case "image":
      // A picture of another origin would tell that origin who reads what: its address is a link.
      return link(decoded(token.href), token.title, [`Picture${token.text && `: ${decoded(token.text)}`}`]);
    case "html":
      return /^<br\s*\/?>$/i.test(token.raw) ? h("br") : token.raw;
    case "escape":
      return token.text;
    case "text":
      return token.tokens ? h("span", {}, inlines(token, depth)) : decoded(token.text);
    default:
      return token.raw;
  }
}

const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** A whole address that a reader may go to, or null: one that would run something, or is of this page. */
export function address(href) {
  try {
    const url = new URL(href);
    return SCHEMES.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A link in a tab of its own, or its text alone. */
export function link(href, title, children) {
  const target = address(href);
  if (!target) return h("span", {}, children);
  return h("a", { href: target, title: title ? decoded(title) : null, target: "_blank", rel: "noopener noreferrer" }, children);
}

const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", reg: "®", trade: "™", hellip: "…", mdash: "—", ndash: "–",
  lsquo: "‘", rsquo: "’", ldquo: "“", rdquo: "”", laquo: "«", raquo: "»", bull: "•", middot: "·", times: "×", divide: "÷", deg: "°",
  plusmn: "±", le: "≤", ge: "≥", ne: "≠", asymp: "≈", infin: "∞", rarr: "→", larr: "←", uarr: "↑", darr: "↓", harr: "↔", rArr: "⇒",
  euro: "€", pound: "£", yen: "¥", cent: "¢", sect: "§", para: "¶", micro: "µ", pi: "π", alpha: "α", beta: "β", gamma: "γ", delta: "δ",
};

/** Text with its character references resolved; those that are not in use stay as they are. */
function decoded(text) {
  return (text ?? "").replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w{2,8}));/gi, (whole, decimal, hexadecimal, name) => {
    if (name) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : whole;
    const point = decimal ? Number(decimal) : Number.parseInt(hexadecimal, 16);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : "\ufffd";
  });
}
