// Stories of the documentation: node site.mjs URL STORY, as tell() in browser.mjs has it.
import { accessible, check, come, say, side, tell } from "./browser.mjs";

const stories = {
  /** README: the session that is offered first is with the model, and its answer comes. */
  async asked(page, url) {
    const reader = await come(page, "reader");
    await page.getByRole("button", { name: "New session" }).click();
    await say(reader, "Is anybody there");
    await reader.locator(".message.agent:not(.streaming)", { hasText: "You said: Is anybody there" }).waitFor();
  },

  /** The URL that `make run` prints: the person of its token, a new session, an answer that streams in. */
  async first(page) {
    await page.waitForSelector("body[data-ready]");
    await page.getByRole("button", { name: "New session" }).click();
    const alice = side(page, "alice");
    await say(alice, "Is anybody there");
    await alice.locator(".message.agent", { hasText: "You said: Is anybody there" }).waitFor();
  },

  /** docs/tutorial/page.md: what is said is answered, and is there after a refresh. */
  async chatted(page, url) {
    const answered = page.getByText("Assistant: You said: Is anybody there");
    await page.getByText("online").waitFor();
    await page.fill("input", "Is anybody there");
    await page.getByRole("button", { name: "Send" }).click();
    await answered.waitFor();
    await page.reload();
    await answered.waitFor();
  },

  /** A token, a session, a call, and a command over Socket.IO. */
  async tried(page, url) {
    await page.goto(`${url}reference/rest-messages.html`);
    await page.getByRole("button", { name: "Get a token and a session" }).click();
    await page.getByText("Yours: a token").waitFor();
    const call = page.locator('form[data-method="GET"][data-path$="/messages"]');
    await call.locator("xpath=..").locator("summary").click();
    await call.getByRole("button", { name: "Send" }).click();
    await call.locator(".answer", { hasText: "200 OK" }).waitFor();
    check(/"content": "Hello"/.test(await call.locator(".answer").innerText()), "the conversation is shown");
    check(/curl -N -X GET 'http.*sess_/.test(await call.locator("[data-shown]").innerText()), "the line has the reader's session");
    await page.goto(`${url}reference/commands.html#message`);
    const command = page.locator('form[data-command="message"]');
    await command.locator("xpath=..").locator("summary").click();
    await command.getByRole("button", { name: "Send" }).click();
    await command.locator(".answer", { hasText: "stream_end" }).waitFor();
    check(/reply {\n "ok": true/.test(await command.locator(".answer").innerText()), "the reply is shown");
  },

  /** Search by keys, a phone, the night, and what axe-core says. */
  async shown(page, url) {
    for (const [path, colorScheme] of [["streams.html", "light"], ["reference/rest-files.html", "dark"]]) {
      await page.emulateMedia({ colorScheme });
      await page.goto(url + path);
      await accessible(page, `${path}, ${colorScheme}`);
    }
    await page.keyboard.press("/");
    await page.keyboard.insertText("재연결");
    await page.locator("#found a").first().waitFor();
    await accessible(page, "what was found");
    await page.keyboard.press("ArrowDown"); // from the field to the first
    check(await page.locator("#found a").first().evaluate((link) => link === document.activeElement), "arrows lead to what was found");
    await page.keyboard.press("Enter");
    await page.waitForURL(/recovery\.html/);
    await page.setViewportSize({ width: 390, height: 844 });
    for (const path of ["index.html", "security.html", "reference/objects.html"]) {
      await page.goto(url + path);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      check(wide <= 390, `${path} fits a phone: ${wide}`);
    }
    await page.getByRole("button", { name: "Menu" }).click();
    await page.locator("#pages").getByText("Reference", { exact: true }).first().waitFor();
    await accessible(page, "the menu of a phone");
  },
};

await tell(stories, (_, url) => url);
