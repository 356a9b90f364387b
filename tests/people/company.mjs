// Sessions and the people in them, as one sees them: node company.mjs URL STORY
import { accessible, check, come, online, playground, say, saying, second, session, tell, unhurt } from "./browser.mjs";

const stories = {
  /** A session's title, people and end: for whoever is in it, at once, and by its owner alone. */
  async details(page) {
    const ann = await come(page, "ann");
    await session(page);
    const bo = await second(page, "bo");
    await ann.getByRole("button", { name: "About this session" }).click();
    const dialog = page.getByRole("dialog", { name: "Session" });
    const title = `Moorings ${Date.now()}`;
    await dialog.getByRole("textbox", { name: "Title" }).fill(title);
    await dialog.getByRole("button", { name: "Rename" }).click();
    for (const pane of [ann, bo]) await pane.getByRole("heading", { name: title }).waitFor();
    await page.locator(".session", { hasText: title }).waitFor();
    await dialog.getByRole("textbox", { name: "User id" }).fill("cy");
    await dialog.getByRole("combobox").selectOption("viewer");
    await dialog.getByRole("button", { name: "Add" }).click();
    await dialog.locator("li", { hasText: "cy" }).getByText("reads", { exact: true }).waitFor();
    await page.setViewportSize({ width: 375, height: 740 });
    await accessible(page, "a session's details");
    const wide = await dialog.evaluate((each) => each.scrollWidth - each.clientWidth);
    check(wide <= 0, `they fit a phone: ${wide}`);
    await dialog.getByRole("button", { name: "Remove cy" }).click();
    await dialog.locator("li", { hasText: "cy" }).waitFor({ state: "detached" });
    await dialog.getByRole("button", { name: "Archive" }).press("Enter");
    for (const pane of [ann, bo]) await pane.getByRole("heading", { name: `${title} (archived)` }).waitFor();
    await dialog.getByRole("button", { name: "Restore" }).press("Enter");
    await ann.getByRole("heading", { name: title, exact: true }).waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Sessions", exact: true }).click();
    await page.locator(".session", { hasText: title }).click(); // who was in it comes in again
    await bo.getByRole("heading", { name: title, exact: true }).waitFor();
    await online(bo);
    await say(ann, "afloat again");
    await saying(bo, "afloat again").waitFor();

    // What is refused stays with its reason, and goes back where it was written, or out again.
    const role = (name) => page.evaluate((role) => {
      const { person, room } = playground.panes[0];
      return person.rest("PUT", `/api/chat/sessions/${room.sessionId}/participants/bo`, { body: { role } });
    }, name);
    await role("viewer");
    for (const text of ["may I?", "and now?"]) {
      await say(bo, text);
      await bo.locator(".unsent .failed", { hasText: text }).getByText("was not taken").waitFor();
    }
    await bo.locator(".unsent li", { hasText: "may I?" }).getByRole("button", { name: "Take it back" }).click();
    check((await bo.locator("textarea").inputValue()) === "may I?", "what was taken back is back where it was written");
    await role("member");
    await bo.getByRole("button", { name: "Send it again" }).click();
    await saying(ann, "and now?").waitFor();
    await bo.locator("textarea").fill("");

    await bo.getByRole("button", { name: "About this session" }).click();
    check(await dialog.getByRole("textbox", { name: "Title" }).isDisabled(), "who does not own it cannot rename it");
    check(!(await dialog.getByRole("button", { name: /Archive|Remove|Add/ }).count()), "nor end it, nor choose who is in it");
    await dialog.getByRole("button", { name: "Leave" }).click();
    await dialog.waitFor({ state: "detached" });
    await bo.getByRole("heading", { name: `${title} (removed)` }).waitFor();
    check(await bo.locator(".composer").evaluate((form) => form.inert), "who is not in it does not write in it");
    await page.evaluate(() => playground.panes[1].person.through("socketio"));
    await bo.getByText("offline: there is no such session").waitFor();
  },

  /** Names and pictures wherever people are; what comes to one's list without a reload; what one thinks of an answer. */
  async names(page, url) {
    const strays = [];
    const token = (sub, name, avatar_url) => page.evaluate(async (body) => (await (await fetch("/api/dev/token", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json()).token, { sub, name, avatar_url });
    const enter = async (sub, name, picture) => {
      const own = await playground(page.context().browser(), "about:blank");
      own.on("request", (request) => request.url().includes("canary") && strays.push(request.url()));
      await own.goto(`${url}/#token=${await token(sub, name, picture)}`);
      await own.waitForSelector("body[data-ready]");
      return own;
    };
    const [ursula, viktor] = [await enter("u-1", "Ursula", `${url}/web/icon.svg`), await enter("u-2", "Viktor", "https://canary.invalid/me.png")];
    const [hers, his] = [ursula, viktor].map((each) => each.locator(".pane"));
    await session(ursula, "Echo");
    await hers.getByRole("button", { name: "About this session" }).click();
    const dialog = ursula.getByRole("dialog", { name: "Session" });
    await dialog.getByRole("textbox", { name: "Title" }).fill("Quay");
    await dialog.getByRole("button", { name: "Rename" }).click();
    await dialog.getByRole("textbox", { name: "User id" }).fill("u-2");
    await dialog.getByRole("button", { name: "Add" }).click();
    await dialog.locator("li", { hasText: "Viktor" }).waitFor();
    await viktor.locator(".session", { hasText: "Quay" }).click(); // it came by itself
    await his.getByRole("heading", { name: "Quay" }).waitFor();
    await dialog.getByRole("textbox", { name: "Title" }).fill("New quay");
    await dialog.getByRole("button", { name: "Rename" }).click();
    await viktor.locator(".session", { hasText: "New quay" }).waitFor();
    await ursula.keyboard.press("Escape");

    await his.locator("textarea").pressSequentially("Ahoy");
    await hers.getByText("Viktor is typing").waitFor();
    await his.locator("textarea").press("Enter");
    await saying(hers, "Ahoy").first().locator(".meta", { hasText: "Viktor" }).waitFor();
    const answer = (pane) => pane.locator(".message.agent:not(.streaming)").first();
    await answer(his).waitFor();
    await hers.getByText("Seen by Viktor").waitFor();
    await say(hers, "Hello there");
    await saying(his, "Hello there").first().locator(".meta", { hasText: "Ursula" }).waitFor();
    await his.locator(".here li", { hasText: "Ursula, online" }).waitFor();
    check(await his.locator(".here img").evaluateAll((all) => all.length === 1 && all[0].src.endsWith("/icon.svg")), "a picture of this server is shown");
    check(!strays.length, `another server is not told who reads: ${strays}`);

    await answer(his).getByRole("button", { name: "Dislike" }).press("Enter");
    await answer(his).getByRole("button", { name: "Comment on" }).press("Enter");
    await viktor.getByRole("dialog").getByLabel("Comment").fill("It only repeats");
    await accessible(viktor, "a comment");
    await viktor.getByRole("dialog").getByRole("button", { name: "Send" }).click();
    await answer(his).getByRole("button", { name: "Change the comment" }).waitFor();
    await answer(hers).getByRole("button", { name: "Like", exact: false }).first().press("Enter");
    await answer(hers).getByText("1 liked it").waitFor();
    await ursula.reload();
    await answer(hers).getByText("1 liked it, 1 disliked it").waitFor();
    await answer(hers).getByRole("button", { name: /^Like/, pressed: true }).press("Enter");
    await answer(hers).getByText("1 disliked it").waitFor();

    await session(viktor);
    const lists = [];
    viktor.on("request", (request) => /sessions\?limit/.test(request.url()) && lists.push(request.url()));
    await say(hers, "Still there?");
    await viktor.locator(".session", { hasText: "New quay" }).locator(".badge").waitFor();
    await viktor.locator(".session", { hasText: "New quay" }).getByText("Still there?").first().waitFor();
    check(!lists.length, `the list is not asked for again: ${lists.length}`);
    for (const each of [ursula, viktor]) unhurt(each);
  },
};

await tell(stories);
