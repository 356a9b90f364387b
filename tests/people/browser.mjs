// What the stories share: a headless Chromium, a page of the playground, people in it, axe-core.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../js/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const STARTED = { executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: QUIET };

/** One of this process's own, or a connection to the one at BROWSER, with contexts of its own. */
export function launch() {
  return process.env.BROWSER ? chromium.connect(process.env.BROWSER) : chromium.launch(STARTED);
}

/** One for others to connect to. */
export const serve = () => chromium.launchServer(STARTED);

export function check(condition, text) {
  if (!condition) throw new Error(`does not hold: ${text}`);
}

/** A page on which any error of the page's own is a failure. */
export async function playground(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(30000);
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error.stack)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) page.faults.push(message.text());
  });
  await page.goto(url);
  return page;
}

export async function come(page, name) {
  await page.fill("#enter-name", name);
  await page.getByRole("button", { name: "Come in" }).click();
  await page.waitForSelector("body[data-ready]");
  return side(page, name);
}

export async function second(page, name) {
  await page.getByRole("button", { name: "Add a second person" }).click();
  await page.fill("#enter-name", name);
  await page.getByRole("button", { name: "Come in" }).click();
  const pane = side(page, name);
  await online(pane);
  return pane;
}

export const side = (page, name) => page.locator(`.pane[data-person="${name}"]`);
export const online = (pane) => pane.and(pane.page().locator('[data-status="online"]')).waitFor();
export const messages = (pane) => pane.locator(".message");
export const saying = (pane, text) => pane.locator(".message", { hasText: text });

export async function say(pane, text) {
  await pane.locator("textarea").fill(text);
  await pane.locator("textarea").press("Enter");
}

/** A new session; without an agent unless `agent` names one. */
export async function session(page, agent = "No agent") {
  const old = await page.locator(".pane h2").first().textContent();
  await page.selectOption("#agent", { label: agent });
  await page.getByRole("button", { name: "New session" }).click();
  await page.waitForFunction((was) => {
    const title = document.querySelector(".pane h2").textContent;
    return title !== was && title !== "…" && title !== "No session";
  }, old);
  await online(page.locator(".pane").first());
}

/** Nothing that axe-core finds. */
export async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  check(
    !violations.length,
    `${what} is accessible: ${JSON.stringify(violations.map(({ id, nodes }) => [id, nodes.map((n) => [n.html.slice(0, 200), n.failureSummary])]), null, 1)}`,
  );
}

export function unhurt(page) {
  check(!page.faults.length, `the page has no errors: ${page.faults.join("\n")}`);
}

/** The story that the command line names, in a browser of its own: node FILE URL STORY … */
export async function tell(stories, begins = (_, url) => `${url}/`) {
  const [, , url, name, ...more] = process.argv;
  const browser = await launch();
  try {
    const page = await playground(browser, begins(name, url));
    try {
      await stories[name](page, url, ...more);
      unhurt(page);
    } catch (error) {
      if (process.env.SHOT) await page.screenshot({ path: process.env.SHOT });
      throw new Error(`${error.message}\npage: ${page.faults.join("\n") || "no errors"}`);
    }
  } finally {
    await browser.close();
  }
}
