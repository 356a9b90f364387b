// EventSources, as a page has them that never closes one: what came to each until it gave up asking, or was
// welcome to a session, as JSON.
// node event_source.mjs node|chromium <an address of the server, for the page> <address of a stream> …
import process from "node:process";
import { EventSource } from "eventsource";
import { chromium } from "playwright-core";

function follow({ url, EventSource = globalThis.EventSource }) {
  return new Promise((resolve) => {
    const seen = { came: [], welcome: false };
    const source = new EventSource(url);
    source.onmessage = ({ data, lastEventId }) => seen.came.push({ ...JSON.parse(data), id: lastEventId });
    source.onerror = () => source.readyState === 2 && resolve(seen);
    source.addEventListener("welcome", () => {
      source.close();
      resolve({ ...seen, welcome: true });
    });
  });
}

/** A page's follow(). */
async function inChromium(browser, page) {
  const tab = await browser.newPage();
  await tab.goto(page);
  return (url) => tab.evaluate(follow, { url });
}

const [where, page, ...urls] = process.argv.slice(2);
const browser = where === "chromium" && await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});
const following = browser ? await inChromium(browser, page) : (url) => follow({ url, EventSource });
const seen = await Promise.all(urls.map(following));
process.stdout.write(JSON.stringify(seen));
if (browser) await browser.close();
process.exit(0);
