// What the playground's fold makes of the examples on stdin: node parts.mjs
import { readFileSync } from "node:fs";

// As a page has it: there, a `.js` is a module without a package that says so.
const source = readFileSync(new URL("../../server/web/parts.js", import.meta.url), "utf8");
const { grow, kept } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const folded = JSON.parse(readFileSync(0, "utf8")).map(({ events }) => {
  const message = { content: "" };
  events.forEach(([name, data], index) => grow(message, name, { index, count: 1, ...data }));
  return { parts: kept(message.parts) ?? null, content: message.content };
});
console.log(JSON.stringify(folded));
