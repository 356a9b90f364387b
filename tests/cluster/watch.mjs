// A page of the playground that is looked at while parts of the cluster are killed: node watch.mjs URL
// Each line of standard input is said to Worker; "writing" is printed once words of the answer are on the page, and
// {text, interrupted} when it is over there.
import { createInterface } from "node:readline";
import { launch, playground, say, session } from "../people/browser.mjs";

const browser = await launch();
const page = await playground(browser, process.argv[2], {});
page.context().setDefaultTimeout(60000);
await page.waitForSelector("body[data-ready]");
await session(page, "Worker");
const pane = page.locator(".pane").first();
console.log("ready");
let asked = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const answer = pane.locator(".message.agent").nth(asked++);
  await say(pane, line);
  await answer.locator(".text", { hasText: line.slice(0, 8) }).waitFor();
  console.log("writing");
  await answer.and(pane.locator(":not(.streaming)")).waitFor();
  const interrupted = (await answer.getByText("interrupted", { exact: true }).count()) > 0;
  console.log(JSON.stringify({ text: await answer.locator(".text").last().textContent(), interrupted }));
}
await browser.close();
