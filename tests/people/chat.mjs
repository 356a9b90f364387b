// examples/chat as people see it: node chat.mjs URL STORY AGENT TOKEN. The agent's worker is the story's.
import { accessible, check, playground, tell, unhurt } from "./browser.mjs";
import { Worker } from "./worker.mjs";

const PICTURE = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAGElEQVR4nGNgaPiPFTHgEidVglbMOEGCEgB7UH+B3mYVGQAAAABJRU5ErkJggg==",
  "base64",
);
const PAY = { id: "t", type: "tool", tool_call_id: "c1", name: "pay", input: { eur: 5 }, state: "approval_requested", executed_by: "agent" };
const MAY = {
  id: "i1", reason: "confirmation", message: "Pay 5 EUR?", tool_call_id: "c1",
  response_schema: { type: "object", properties: { approved: { type: "boolean" }, note: { type: "string", title: "Note" } } },
};

const field = (page) => page.getByLabel(/^(Message|메시지)$/).and(page.locator("textarea"));
const message = (page, text) => page.locator(".message", { hasText: text });
const said = (page) => page.locator(".message .body").allInnerTexts();

async function say(page, text) {
  await field(page).fill(text);
  await page.keyboard.press("Enter");
}

/** Goes by the Tab key until something with this name has the focus. */
async function reach(page, name, key) {
  for (let at = 0; at < 40; at += 1) {
    await page.keyboard.press(key);
    const label = await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
    if (label.includes(name)) return;
  }
  throw new Error(`no way to "${name}" by ${key}`);
}

/** What moves under one's eyes, and how long a key waits until it is seen: from now on. */
async function watched(page) {
  await page.evaluate(() => {
    const seen = (globalThis.seen = { shift: 0, keys: [], handled: 0, moved: [] });
    new PerformanceObserver((list) => {
      for (const { value, hadRecentInput, sources } of list.getEntries()) {
        if (hadRecentInput) continue;
        seen.shift += value;
        seen.moved.push(...sources.map(({ node }) => node?.outerHTML?.slice(0, 200) ?? node?.nodeName));
      }
    }).observe({ type: "layout-shift" });
    new PerformanceObserver((list) => {
      for (const { name, startTime, processingEnd, duration } of list.getEntries()) {
        if (name === "keydown") seen.keys.push(duration);
        seen.handled = Math.max(seen.handled, processingEnd - startTime);
      }
    }).observe({ type: "event", durationThreshold: 16 });
  });
  return () => page.evaluate(() => globalThis.seen);
}

/** Milliseconds of a processor that the page's tasks took, the longest first: what others do on the machine is not in it. */
function tasks(trace) {
  const { traceEvents } = JSON.parse(trace);
  const pages = traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain");
  const mains = new Set(pages.map(({ pid, tid }) => `${pid} ${tid}`));
  const taken = new Map();
  for (const { name, pid, tid, tdur } of traceEvents) {
    const thread = `${pid} ${tid}`;
    if (name.endsWith("RunTask") && tdur && mains.has(thread)) taken.set(thread, [...(taken.get(thread) ?? []), tdur / 1000]);
  }
  const sum = (times) => times.reduce((all, each) => all + each, 0);
  return [...taken.values()].sort((one, other) => sum(other) - sum(one))[0].sort((one, other) => other - one);
}

const stories = {
  /** A day's use: an answer of parts, versions, words that are found, files, two people, an approval; by keys, in both
   * languages and lights, on a phone. */
  async product(page, url, agent, token) {
    const worker = await Worker.come(url, token);
    await page.getByLabel("Your name").fill("ada");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "What is an answer made of?" }).click();
    await message(page, "An answer is made of").and(page.locator('[data-status="complete"]')).waitFor();
    await page.getByRole("link", { name: "Markdown in a minute" }).waitFor();
    await page.getByText("Look it up").click();
    await page.getByText('"word": "parts"').waitFor();
    const first = page.url();
    await accessible(page, "an answer");

    await page.getByRole("link", { name: "New chat" }).first().click();
    await page.getByRole("button", { name: agent }).click();
    await field(page).waitFor();
    await say(page, "what is a *capybara*?");
    const answer = await worker.begin();
    const seen = await watched(page);
    for (let at = 0; at < 60; at += 1) await worker.write(answer, at % 10 ? "a large rodent, " : "\n\n- a **line** of it: ");
    await worker.end(answer);
    await message(page, "a large rodent").and(page.locator('[data-status="complete"]')).waitFor();
    const { shift, moved } = await seen();
    check(shift < 0.02, `nothing moves while an answer is written: ${shift} of ${moved}`);
    await message(page, "a large rodent").getByRole("button", { name: "Answer again" }).click();
    await worker.answer("a friend");
    await page.getByText("2/2").waitFor();
    await message(page, "a friend").getByRole("button", { name: "Older version" }).click();
    await page.getByText("1/2").waitFor();
    await message(page, "a large rodent").waitFor();

    // By keys alone: a word is found, its message is shown; the browser's Back; other words for the last question.
    await reach(page, "Search", "Shift+Tab");
    await page.keyboard.type("friend");
    await page.locator(".lines mark").first().waitFor();
    await reach(page, "friend", "Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL(/#.+\/.+/);
    await page.goBack();
    await page.goto(first);
    await message(page, "An answer is made of").waitFor();
    await page.goBack();
    await message(page, "capybara").waitFor();
    await field(page).press("ArrowUp");
    await page.keyboard.press("Control+a");
    await page.keyboard.type("what is a wombat?");
    await page.keyboard.press("Enter");
    await worker.answer("a digger");
    await message(page, "a digger").waitFor();
    check(!(await said(page)).some((text) => text.includes("capybara")), "the other question is another version");

    await page.locator("input[type=file]").setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: PICTURE });
    await page.locator('.files [data-status="ready"]').waitFor();
    await say(page, "look at this");
    await page.waitForFunction(() => document.querySelector(".picture img")?.naturalWidth === 8);
    const asking = await worker.begin();
    await worker.part(asking, PAY);
    await worker.wait(asking, MAY);
    await page.getByLabel("Note").fill("once");
    await accessible(page, "what is asked");
    await page.getByRole("button", { name: "Approve" }).click();
    const resumed = await worker.resume();
    const { payload } = resumed.request.resume.interrupts[0].answer;
    check(payload.approved && payload.note === "once", `the worker is told: ${JSON.stringify(payload)}`);
    await worker.write(resumed, "Paid.");
    await worker.end(resumed);
    await message(page, "Paid.").waitFor();

    // What is said without a network is sent when it is back.
    await page.context().setOffline(true);
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pagehide")));
    await page.getByText("Offline: what you say is sent later.").waitFor();
    await say(page, "said in a tunnel");
    await message(page, "said in a tunnel").and(page.locator('[data-status="waiting"]')).waitFor();
    await page.context().setOffline(false);
    await worker.answer("heard");
    await message(page, "heard").waitFor();
    check((await said(page)).filter((text) => text.includes("tunnel")).length === 1, "it is there once");
    page.faults = page.faults.filter((each) => !each.includes("ERR_INTERNET_DISCONNECTED")); // Chromium's own word

    // Somebody else comes, on a phone, and reads Korean.
    await page.getByLabel("Options").click();
    await page.getByRole("button", { name: "Invite" }).click();
    await page.keyboard.type("bo");
    await page.keyboard.press("Enter");
    const here = page.url().split("#")[1].split("/")[0];
    const phone = { viewport: { width: 390, height: 740 }, locale: "ko-KR", colorScheme: "dark" };
    const bo = await playground(page.context().browser(), `${url}/chat/?user=bo`, phone);
    await bo.locator(`.lines a[href="#${here}"]`).click();
    await message(bo, "Paid.").waitFor();
    await page.locator(".faces", { hasText: "bo" }).waitFor();
    await field(bo).pressSequentially("안녕");
    await page.getByText("bo is typing…").waitFor();
    await bo.keyboard.press("Enter");
    await message(page, "안녕").waitFor();
    await worker.answer("반갑습니다");
    await message(bo, "반갑습니다").waitFor();
    await page.getByText("Seen by bo").waitFor();
    const wide = await bo.evaluate(() => document.querySelector(".scroller").scrollWidth - 390);
    check(wide <= 0, `a conversation fits a phone: ${wide}`);
    await accessible(bo, "a phone in the dark");
    await bo.getByRole("link", { name: "뒤로" }).click();
    await bo.getByLabel("검색").waitFor();
    await bo.locator(".agents button").first().waitFor(); // a new one is begun on a phone, too
    await accessible(bo, "the list on a phone");
    await say(page, "who is there?");
    await worker.answer("nobody knows");
    await bo.locator(`.lines a[href="#${here}"] em`).waitFor();
    unhurt(bo);
    await bo.context().close();
    worker.close();
  },

  /** A conversation of thousands of messages, all of them loaded; answers of 200 chunks a second, while somebody types. */
  async long(page, url, agent, token, session, first, seconds) {
    const worker = await Worker.come(url, token);
    await page.goto(`${url}/chat/?user=olga#${session}/${first}`);
    await page.locator(`[data-key="${first}"]`).waitFor();
    await page.getByRole("button", { name: "To the newest" }).click();
    await say(page, "go on");
    const { written, slow, handled, shift, moved } = await hurried(page, worker, seconds);
    const browser = page.context().browser();
    await say(page, "once more");
    await browser.startTracing(page, { categories: ["toplevel", "__metadata"] });
    await hurried(page, worker, seconds / 2);
    const [longest] = tasks(await browser.stopTracing());
    const rows = await page.locator(".message").count();
    console.log(JSON.stringify({ written, shift, slow, handled, longest, rows }));
    check(shift < 0.02, `nothing moves while an answer is written: ${shift} of ${moved}`);
    check(rows < 200, `the page has a part of the conversation: ${rows} messages`);
    check(handled < 50, `a key does not wait for what is written, and is taken in at once: ${handled} ms`);
    check(longest < 50, `no task of the page's takes long: ${longest} ms of a processor`);
    worker.close();
  },
};

/** An answer of 200 chunks a second, and somebody who types meanwhile. `handled`: milliseconds until a key has been taken
 * in, at most; `slow`: until that is seen, as INP has it: the slowest of fifty is left out. */
async function hurried(page, worker, seconds) {
  const answer = await worker.begin();
  const seen = await watched(page);
  const begun = Date.now(), end = begun + seconds * 1000;
  let written = 0, typed = 0;
  await field(page).fill("");
  const writing = (async () => {
    for (; Date.now() < end; await new Promise((done) => setTimeout(done, 5))) {
      while (written < (200 * (Date.now() - begun)) / 1000) {
        const content = written++ % 40 ? `word${written} of it, ` : "\n\n- **a point** and `code`: ";
        worker.socket.emit("stream_chunk", { ...answer.where, index: answer.index++, content });
      }
    }
  })();
  for (; Date.now() < end; typed += 8) {
    await page.keyboard.type("hurried ", { delay: 30 });
    if (typed % 160 === 0) await page.keyboard.press("Control+a");
  }
  await writing;
  await worker.write(answer, "the end");
  await worker.end(answer);
  await message(page, "the end").last().and(page.locator('[data-status="complete"]')).waitFor();
  await field(page).fill("");
  const { shift, moved, handled, keys } = await seen();
  const ordered = keys.sort((one, other) => other - one);
  return { written, shift, moved, handled, slow: ordered[Math.floor(typed / 50)] ?? 0 };
}

await tell(stories, (_, url) => `${url}/chat/`);
