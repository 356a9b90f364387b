"use client";
// Markdown as elements: `marked` reads it into tokens, and each becomes an element or text; `remend` closes what a text
// that is still being written has open. Text never becomes HTML, and an address never loads anything.
import { createElement as h, Fragment, memo, useMemo, useRef } from "react";
import { lexer } from "marked";
import remend from "remend";
import { plain } from "./text.js";

/** Characters of a text that grows, beyond which nothing in it is closed for show: it takes long, and rarely is open. */
const HEALED = 20000;
/** Quotes and lists within each other, beyond which text is shown as it was written. */
const DEEPEST = 20;

/** `text` as it is, or with `growing` as it will look. `code({ text, language })` renders a block of code in place of
 * `<pre><code>`. A block that did not change is neither read nor rendered again. Headings begin at `<h3>`. */
export const Markdown = memo(function Markdown({ text, growing = false, code = Code, className = "markdown" }) {
  const known = useRef(null);
  const blocks = useMemo(() => {
    try {
      if (!growing) return read(text);
      known.current = grown(known.current, text);
      return [...known.current.blocks, ...known.current.tail];
    } catch {
      return [{ type: "escape", raw: text, text }]; // nested too deeply for the library
    }
  }, [text, growing]);
  return h("div", { className, dir: "auto" }, blocks.map((token, at) => h(Block, { key: at, token, code })));
});

const read = (text) => lexer(text).filter(({ type }) => type !== "space");

/** `blocks` that no further text can change, of the text in `settled`, and those of the `tail`. */
function grown(known, text) {
  const { settled, blocks } = known && text.startsWith(known.settled) ? known : { settled: "", blocks: [] };
  const rest = text.slice(settled.length);
  const tokens = lexer(rest);
  const last = tokens.findLastIndex(({ type }) => type !== "space");
  const sure = tokens.slice(0, Math.max(0, last));
  const raw = sure.map((token) => token.raw).join("");
  if (!rest.startsWith(raw)) return { settled, blocks, tail: tokens.filter(({ type }) => type !== "space") }; // it put something in
  const open = rest.slice(raw.length);
  const healed = open.length < HEALED && tokens[last]?.type !== "code" ? read(remend(open)) : read(open);
  return { settled: settled + raw, blocks: [...blocks, ...sure.filter(({ type }) => type !== "space")], tail: healed };
}

const Block = memo(
  function Block({ token, code }) {
    return element(token, 0, code, 0);
  },
  (one, other) => one.token.raw === other.token.raw && one.token.type === other.token.type && one.code === other.code,
);

const Code = ({ text }) => h("pre", { tabIndex: 0 }, h("code", null, text));
const SIMPLE = { paragraph: "p", blockquote: "blockquote", strong: "strong", em: "em", del: "del" };
const LINKS = /^(https?:|mailto:)/i;

function element(token, key, code, depth) {
  const { type, tokens, text, raw } = token;
  if (depth > DEEPEST) return raw;
  const all = (some) => some?.map((each, at) => element(each, at, code, depth + 1));
  if (SIMPLE[type]) return h(SIMPLE[type], { key }, all(tokens));
  switch (type) {
    case "text":
      return tokens ? h(Fragment, { key }, all(tokens)) : plain(text);
    case "escape":
      return text;
    case "heading":
      return h(`h${Math.min(6, token.depth + 2)}`, { key }, all(tokens));
    case "code":
      return h(code, { key, text, language: token.lang ?? "" });
    case "codespan":
      return h("code", { key }, text);
    case "br":
    case "hr":
      return h(type, { key });
    case "link":
      if (!LINKS.test(token.href)) return h(Fragment, { key }, all(tokens));
      return h("a", { key, href: token.href, target: "_blank", rel: "noopener noreferrer" }, all(tokens));
    case "image":
      return text;
    case "list":
      return h(token.ordered ? "ol" : "ul", { key, start: token.start || undefined }, token.items.map((item, at) =>
        h("li", { key: at }, item.task && h("input", { type: "checkbox", checked: item.checked, readOnly: true, "aria-label": item.text }),
          all(item.tokens.filter((each) => each.type !== "checkbox")))));
    case "table":
      return h("div", { key, className: "table", tabIndex: 0 }, h("table", null,
        h("thead", null, h("tr", null, token.header.map((cell, at) => h("th", { key: at }, all(cell.tokens))))),
        h("tbody", null, token.rows.map((row, at) =>
          h("tr", { key: at }, row.map((cell, place) => h("td", { key: place }, all(cell.tokens))))))));
    case "space":
    case "def":
      return null;
    default:
      return raw;
  }
}
