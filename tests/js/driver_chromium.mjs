// The same for a page in Chromium: see driver.mjs. The page is of the server's own origin.
// node driver_chromium.mjs <package> <an address of the server>
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { commandsOf } from "./sockets.mjs";

const [source, address] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});
const page = await browser.newPage();
await page.exposeFunction("say", say);
await page.goto(address);
await page.evaluate(readFileSync(new URL(`node_modules/${source}/dist/socket.io.js`, import.meta.url), "utf8"));
await page.evaluate(`globalThis.commands = (${commandsOf})(io, say); undefined`);

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...rest } = JSON.parse(line);
  page.evaluate(([name, given]) => globalThis.commands[name](given), [command, rest]).then(
    (result) => say({ id, result: result ?? null }),
    (error) => say({ id, error: String(error?.message ?? error) }),
  );
}
await browser.close();
process.exit(0);
