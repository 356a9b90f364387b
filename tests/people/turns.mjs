// Questions and answers as people see them: node turns.mjs URL STORY AGENT TOKEN. The agent's worker is the story's.
import { accessible, check, come, playground, say, saying, session, tell, unhurt } from "./browser.mjs";
import { Worker } from "./worker.mjs";

const PHONE = { width: 375, height: 740 };

/** Goes by the Tab key until something with this name has the focus. */
async function reach(page, name, key = "Shift+Tab") {
  for (let at = 0; at < 40; at += 1) {
    await page.keyboard.press(key);
    const label = await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
    if (label.includes(name)) return;
  }
  throw new Error(`no way to "${name}" by ${key}`);
}

async function type(page, text) {
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}

async function fits(page, what) {
  const wide = await page.evaluate(() => Math.max(...[document.documentElement, ...document.querySelectorAll(".messages, dialog")].map((each) => each.scrollWidth - each.clientWidth)));
  check(wide <= 0, `${what} fits a phone: ${wide}`);
}

const DEPLOY = { id: "t", type: "tool", tool_call_id: "c1", name: "deploy", title: "Deploy", input: { to: "production" }, executed_by: "agent" };
const BERTH = {
  type: "object",
  properties: {
    name: { type: "string", title: "Ship" },
    length: { type: "integer", minimum: 1 },
    kind: { enum: ["sail", "motor"] },
    power: { type: "boolean", description: "from the shore" },
    owner: { type: "object", properties: { city: { type: "string" } } },
    tags: { type: "array", items: { type: "string" } },
  },
  required: ["name", "kind"],
};

const stories = {
  /** Stop before the network, before the first word, and in the middle; by Esc, and by the button on a phone. */
  async stop(page, url, agent, token) {
    const worker = await Worker.come(url, token);
    const ada = await come(page, "ada");
    await session(page, agent);
    const stop = ada.getByRole("button", { name: "Stop the answer" });
    check(await stop.isHidden(), "nothing can be stopped where nothing is asked");
    await ada.locator("textarea").focus();
    await type(page, "are you there?");
    const { message } = await worker.requests.next();
    await stop.waitFor();
    await page.keyboard.press("Escape");
    check((await worker.cancelled.next()) === message.message_id, "the worker is told which question");
    await saying(ada, "are you there?").getByText("stopped", { exact: true }).waitFor();
    await stop.waitFor({ state: "hidden" });
    const late = await worker.call("stream_start", { session_id: message.session_id, reply_to: message.message_id }).catch(({ code }) => code);
    check(late === "STREAM_CLOSED", `a late answer is refused: ${late}`);
    await page.reload();
    await page.waitForSelector("body[data-ready]");
    await saying(ada, "are you there?").getByText("stopped", { exact: true }).waitFor(); // no answer says so
    await saying(ada, "are you there?").getByRole("button", { name: "Ask again" }).waitFor();

    // What never left is taken back.
    await ada.getByRole("button", { name: "Cut the network" }).click();
    await say(ada, "out of the tunnel");
    await ada.locator(".unsent", { hasText: "out of the tunnel" }).waitFor();
    await page.keyboard.press("Escape");
    check((await ada.locator("textarea").inputValue()) === "out of the tunnel", "what waited for the network is back where it was written");
    await ada.getByRole("button", { name: "Reconnect" }).click();
    await page.setViewportSize(PHONE);
    await ada.locator("textarea").press("Enter");
    const answer = await worker.begin();
    await worker.write(answer, "half of ");
    await ada.locator(".message.agent.streaming", { hasText: "half of" }).waitFor();
    await fits(page, "an answer that can be stopped");
    await worker.call("agent_status", { ...answer.where, status: "calling_tool", detail: "ships" });
    await ada.getByText("calling a tool: ships…").waitFor();
    await worker.call("agent_status", { ...answer.where, status: null });
    await ada.locator(".doing").waitFor({ state: "detached" });
    await stop.click();
    await ada.locator(".message.agent", { hasText: "half of" }).getByText("stopped", { exact: true }).waitFor();
    check((await worker.cancelled.next()) === answer.where.message_id, "the worker is told which answer");
    check(await ada.locator("textarea").evaluate((input) => input === document.activeElement), "who pressed a button that goes away can write on");
    worker.close();
  },

  /** Questions in line: marked, edited, deleted, stopped; all of it by keys, on a phone and over a reload. */
  async line(page, url, agent, token) {
    const worker = await Worker.come(url, token);
    const ben = await come(page, "ben");
    await session(page, agent);
    await page.setViewportSize(PHONE);
    await ben.locator("textarea").focus();
    await type(page, "first");
    const answer = await worker.begin();
    await worker.write(answer, "so ");
    for (const text of ["second", "third", "fourth"]) await type(page, text);
    await saying(ben, "fourth").getByText("waits, 3 before it").waitFor();
    await accessible(page, "a line of questions");
    await fits(page, "a line of questions");
    await page.reload();
    await page.waitForSelector("body[data-ready]");
    await saying(ben, "second").getByText("waits, 1 before it").waitFor();

    await ben.locator("textarea").focus();
    await reach(page, "Stop question"); // the last in line
    await page.keyboard.press("Enter");
    await saying(ben, "fourth").getByText("stopped").waitFor();
    check(await page.evaluate(() => document.activeElement.closest(".message") !== null), "the focus stays with the question");
    await ben.locator("textarea").focus();
    await reach(page, "Stop question"); // the third by now
    await reach(page, "Delete", "Tab");
    await page.keyboard.press("Enter");
    await ben.getByText("This message was deleted.").waitFor();
    await ben.locator("textarea").focus();
    await reach(page, "Stop question");
    await reach(page, "Edit", "Tab");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Control+A");
    await type(page, "second, thought over");
    await saying(ben, "thought over").getByText("waits, 1 before it").waitFor();

    await worker.end(answer);
    const next = await worker.begin();
    check(next.request.message.content === "second, thought over", "it is answered as it is then");
    await saying(ben, "thought over").getByText(/waits/).waitFor({ state: "detached" });
    await worker.write(next, "done");
    await worker.end(next);
    await ben.locator(".message.agent:not(.streaming)", { hasText: "done" }).waitFor();
    await ben.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    worker.close();
  },

  /** Approval of a tool after a reload, by keys; of two tabs that answer at once both show the one answer that counts. */
  async approval(page, url, agent, token) {
    const worker = await Worker.come(url, token);
    const cleo = await come(page, "cleo");
    await session(page, agent);
    await page.setViewportSize(PHONE);
    const asked = async (id) => {
      await say(cleo, `deploy, please (${id})`);
      const answer = await worker.begin();
      await worker.part(answer, { ...DEPLOY, state: "approval_requested" });
      await worker.wait(answer, { id, reason: "tool_call", tool_call_id: "c1", message: "May I?" });
      await cleo.getByRole("region", { name: "Asks for approval: Deploy" }).last().getByText("May I?").waitFor();
    };
    await asked("first");
    await accessible(page, "a tool that waits for approval");
    await fits(page, "a tool that waits for approval");
    await page.reload();
    await page.waitForSelector("body[data-ready]");
    check((await cleo.getByLabel("Input").last().textContent()).includes("production"), "what is approved of is shown");
    await cleo.locator("textarea").last().focus();
    await reach(page, "Approve");
    await page.keyboard.press("Enter");
    await cleo.getByText("It was approved by cleo.").waitFor();
    const on = await worker.resume();
    check(on.request.resume.interrupts[0].answer.status === "resolved", "the worker has the answer");
    await worker.part(on, { ...DEPLOY, state: "output_available", output: "done" });
    await worker.write(on, "It is out.");
    await worker.end(on);
    await cleo.locator(".message.agent:not(.streaming)", { hasText: "It is out." }).waitFor();
    check((await cleo.locator(".message.agent").count()) === 1, "the same message goes on");

    await asked("second");
    const { people, session: id } = await page.evaluate(() => JSON.parse(sessionStorage.getItem("parley-playground")));
    const tab = await playground(page.context().browser(), `${url}/#token=${people[0].token}&session=${id}`);
    await tab.getByLabel("SSE + REST").check();
    const [mine, others] = [page, tab].map((each) => each.locator(".ask").last());
    await others.getByRole("button", { name: "Deny" }).waitFor();
    // Both at once, also where the first answer has taken the other's buttons away by then.
    const pressed = await Promise.all([mine.getByRole("button", { name: "Approve" }), others.getByRole("button", { name: "Deny" })].map((each) => each.elementHandle()));
    await Promise.all(pressed.map((each) => each.evaluate((button) => button.click())));
    const told = await Promise.all([mine, others].map((each) => each.locator(".outcome").textContent()));
    check(told[0] === told[1] && /^It was (approved|denied) by cleo\.$/.test(told[0]), `one answer counts: ${told}`);
    await worker.end(await worker.resume());
    unhurt(tab);
    worker.close();
  },

  /** What an answer asks for is filled in: a form by its schema, and what a tool of the page gave. */
  async forms(page, url, agent, token) {
    const worker = await Worker.come(url, token);
    const dov = await come(page, "dov");
    await session(page, agent);
    await page.setViewportSize(PHONE);
    await say(dov, "a berth, please");
    const answer = await worker.begin();
    await worker.wait(answer, { id: "berth", reason: "input_required", message: "For which ship?", response_schema: BERTH });
    const ask = dov.getByRole("region", { name: "Asks for input" });
    await ask.getByLabel("Ship").fill("Anna");
    await accessible(page, "a form");
    await fits(page, "a form");
    await ask.getByLabel("length").fill("12");
    await ask.getByLabel("kind").selectOption("sail");
    await ask.getByLabel("power").press("Space");
    await ask.getByLabel("city").fill("Kiel");
    await ask.getByLabel("tags (JSON)").fill("[1");
    await ask.getByRole("button", { name: "Send" }).click();
    await ask.getByText("tags is no JSON").waitFor();
    await ask.getByLabel("tags (JSON)").fill('["blue"]');
    await ask.getByRole("button", { name: "Send" }).press("Enter");
    const on = await worker.resume();
    const { payload } = on.request.resume.interrupts[0].answer;
    const whole = { name: "Anna", length: 12, kind: "sail", power: true, owner: { city: "Kiel" }, tags: ["blue"] };
    check(Object.entries(whole).every(([name, value]) => JSON.stringify(payload[name]) === JSON.stringify(value)), `what was filled in: ${JSON.stringify(payload)}`);
    await ask.getByText("It was answered by dov.").waitFor();

    await worker.part(on, { ...DEPLOY, executed_by: "client", title: "Where are you?", state: "input_available" });
    await worker.wait(on, { id: "place", reason: "tool_call", tool_call_id: "c1" });
    const tool = dov.getByRole("region", { name: "A tool of this page: Where are you?" });
    await tool.getByLabel("Output").fill('{"at": "pier 3"}');
    await tool.getByRole("button", { name: "Send" }).click();
    const last = await worker.resume();
    check(last.request.resume.interrupts.at(-1).answer.payload.at === "pier 3", "the tool's output is JSON");
    await worker.end(last);
    await dov.locator(".message.agent:not(.streaming)").waitFor();
    worker.close();
  },

  /** An answer anew and a question otherwise: versions to leaf through, by keys, on a phone, and for all readers. */
  async versions(page, url, agent, token) {
    const worker = await Worker.come(url, token);
    const eva = await come(page, "eva");
    await session(page, agent);
    await page.setViewportSize(PHONE);
    await eva.locator("textarea").focus();
    await type(page, "one");
    await worker.answer("first try");
    await eva.locator(".message.agent:not(.streaming)", { hasText: "first try" }).waitFor();
    await type(page, "and then?");
    await worker.answer("more of it");
    await eva.locator(".message.agent:not(.streaming)", { hasText: "more of it" }).waitFor();
    const { people, session: id } = await page.evaluate(() => JSON.parse(sessionStorage.getItem("parley-playground")));
    const tab = await playground(page.context().browser(), `${url}/#token=${people[0].token}&session=${id}`);
    await saying(tab.locator(".pane"), "more of it").waitFor();

    await eva.locator("textarea").focus();
    await reach(page, "Regenerate"); // the last
    await reach(page, "Regenerate"); // the first
    await page.keyboard.press("Enter");
    const again = await worker.answer("second try");
    for (const pane of [eva, tab.locator(".pane")]) {
      await saying(pane, "second try").getByRole("group", { name: "Version 2 of 2" }).waitFor();
      check((await pane.locator(".message").count()) === 2, "what followed the first is on its branch");
    }
    await accessible(page, "versions of an answer");
    await fits(page, "versions of an answer");
    await eva.locator("textarea").focus();
    await reach(page, "Version before");
    await page.keyboard.press("Enter");
    for (const pane of [eva, tab.locator(".pane")]) {
      await saying(pane, "first try").getByRole("group", { name: "Version 1 of 2" }).waitFor();
      await saying(pane, "more of it").waitFor();
    }
    await page.waitForFunction(() => document.activeElement.title === "Version after"); // the next key leafs on
    // Whatever is told of the message meanwhile: a thumb is a change of it.
    await saying(eva, "first try").getByRole("button", { name: /^Like/ }).evaluate((button) => button.click());
    await saying(eva, "first try").getByRole("button", { name: /^Like/, pressed: true }).waitFor();
    check((await page.evaluate(() => document.activeElement.title)) === "Version after", "the next key leafs on still");
    await page.reload();
    await saying(eva, "first try").getByText("1/2").waitFor();
    unhurt(tab);

    await eva.locator("textarea").focus();
    await page.keyboard.press("ArrowUp"); // the last question again
    await eva.getByLabel("Beside the old one").waitFor();
    await page.keyboard.type(" Tell me.");
    await page.keyboard.press("Enter");
    const word = `heron${Date.now()}`;
    await worker.answer(word);
    await eva.locator(".message.agent:not(.streaming)", { hasText: word }).waitFor();
    const question = saying(eva, "and then? Tell me.");
    await question.getByRole("group", { name: "Version 2 of 2" }).waitFor();
    check((await eva.locator(".message").count()) === 4, "the old one is not shown with it");
    await question.getByRole("button", { name: "Version before" }).press("Enter");
    await saying(eva, "more of it").waitFor();
    // An answer that goes is no version any more; a question that goes is one: its answer is there.
    const remove = (messageId) =>
      page.evaluate(
        ([url, token]) => fetch(url, { method: "DELETE", headers: { Authorization: `Bearer ${token}` } }),
        [`${url}/api/chat/sessions/${id}/messages/${messageId}`, people[0].token],
      );
    await remove(again.where.message_id);
    await saying(eva, "first try").getByRole("group", { name: "Version 1 of 2" }).waitFor({ state: "detached" });
    await saying(eva, "and then?").getByRole("group", { name: "Version 1 of 2" }).waitFor();

    await page.getByRole("button", { name: "Sessions", exact: true }).click();
    await page.fill("#query", word);
    await page.locator(".hit", { hasText: word }).getByText(agent, { exact: true }).click();
    await eva.locator(".message.found-here", { hasText: word }).waitFor(); // on the branch that was left
    worker.close();
  },
};

await tell(stories);
