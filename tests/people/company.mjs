// Sessions and the people in them, as one sees them: node company.mjs URL STORY
import { accessible, check, come, online, say, saying, second, session, tell } from "./browser.mjs";

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
};

await tell(stories);
