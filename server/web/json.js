// Any value as text that can be read and marked.
import { h } from "./dom.js";

/** Characters of it that are shown: a page with megabytes of them stands still. */
export const SHOWN = 20000;

export function json(label, value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const more = text.length - SHOWN;
  return h("pre", { tabindex: "0", role: "group", "aria-label": label }, more > 0 ? `${text.slice(0, SHOWN)}\n… ${more} more characters` : text);
}
