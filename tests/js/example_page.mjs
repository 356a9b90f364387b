// Drives the example page in a real Chromium: `node page.mjs <folder of playwright-core> <page> <profile>`.
// Says what it saw as one line of JSON.
import { createRequire } from "node:module";

const [modules, address, profile] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const seen = { errors: [] };
try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  const answers = page.locator("article.agent");
  const ask = async (text) => {
    await page.getByRole("textbox").fill(text);
    await page.getByRole("button", { name: "Send" }).click();
  };
  const longer = (locator, than) =>
    locator.evaluate((element, than) => new Promise((resolve) => {
      const look = () => element.textContent.length > than && (watch.disconnect(), resolve());
      const watch = new MutationObserver(look);
      watch.observe(element, { childList: true, characterData: true, subtree: true });
      look();
    }), than);

  await page.goto(address);
  await page.getByText("Connected").waitFor();
  const question = Array.from({ length: 120 }, (_, n) => `word${n}`).join(" ");
  await ask(question);
  await longer(answers.first(), 20);
  await page.reload();
  await answers.first().waitFor();
  seen.status_after_reload = await answers.first().getAttribute("data-status");
  seen.length_after_reload = (await answers.first().textContent()).length;
  await page.locator('article.agent[data-status="complete"]').waitFor();
  seen.question = question;
  seen.answer = await answers.first().textContent();
  seen.bubbles = await page.locator("article").count();

  await ask(question);
  await longer(answers.nth(1), 20);
  await page.getByRole("button", { name: "Stop" }).click();
  await page.locator('article.agent[data-status="cancelled"]').waitFor();
  seen.stopped = await answers.nth(1).textContent();
  await page.reload();
  await page.locator('article.agent[data-status="cancelled"]').waitFor();
  seen.stopped_after_reload = await answers.nth(1).textContent();
  seen.stop_is_hidden = await page.getByRole("button", { name: "Stop" }).isHidden();
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
