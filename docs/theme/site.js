// The site's frame: the menu of a phone, the search, buttons that copy code.
import { around, prepared, search } from "./search.js";

const root = new URL(`${document.documentElement.dataset.root}/`, location.href);
const $ = (id) => document.getElementById(id);
/** An element. */
export const made = (tag, more = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), more);
  element.append(...children);
  return element;
};

$("menu").onclick = () => $("menu").setAttribute("aria-expanded", String($("pages").classList.toggle("open")));
document.querySelector("#pages [aria-current]")?.scrollIntoView({ block: "nearest" });

for (const block of document.querySelectorAll(".codehilite")) {
  const copy = made("button", { className: "copy", textContent: "Copy" });
  copy.onclick = async () => {
    await navigator.clipboard.writeText(block.querySelector("code").textContent);
    copy.textContent = "Copied";
  };
  block.append(copy);
}

// Who has no mouse scrolls what is wider than the page by keys.
for (const wide of document.querySelectorAll("main pre, main table")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;

const box = $("search"), list = $("found");
let index, asked = 0;
const json = async (name) => (await fetch(new URL(name, root))).json();
const loaded = () => (index ??= Promise.all([json("search/search_index.json"), json("words.json")]).then((all) => prepared(...all)));

const shut = () => (list.hidden = true);

/** By arrow keys, from the field into what was found and back. */
function move(step) {
  const stops = [box, ...list.querySelectorAll("a")];
  stops.at((stops.indexOf(document.activeElement) + step) % stops.length).focus();
}

function row(each) {
  const [before, match, after] = around(each);
  const title = each.page && each.page !== each.title ? `${each.page} › ${each.title}` : each.title;
  const link = made("a", { href: new URL(each.location, root).href },
    made("b", { textContent: title }), made("small", {}, before, made("mark", { textContent: match }), after));
  return made("li", {}, link);
}

async function show() {
  const turn = ++asked, question = box.value.trim();
  if (!question) return shut();
  const results = search(await loaded(), question);
  if (turn !== asked) return;
  const nothing = made("li", {}, made("p", { textContent: "Nothing found · 결과가 없습니다" }));
  list.replaceChildren(...(results.length ? results.map(row) : [nothing]));
  list.hidden = false;
}

box.onfocus = () => loaded();
box.oninput = show;
box.parentElement.onkeydown = (event) => {
  if (event.isComposing) return; // a syllable is not finished
  if (event.key === "Escape") shut();
  else if (event.key === "ArrowDown") move(1);
  else if (event.key === "ArrowUp") move(-1);
  else if (event.key === "Enter" && event.target === box) list.querySelector("a")?.click();
  else return;
  event.preventDefault();
};
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) {
    event.preventDefault();
    box.focus();
  }
});
addEventListener("click", (event) => event.target.closest("search") ?? shut());
