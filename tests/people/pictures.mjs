// The pictures of the README, of a server that runs: node pictures.mjs URL FOLDER
import { come, launch, online, playground, say, saying, second, session } from "./browser.mjs";

const [, , url, folder] = process.argv;
const browser = await launch();

async function talk(page) {
  const alice = await come(page, "alice");
  await session(page);
  await session(page, "Echo");
  const bob = await second(page, "bob");
  await say(alice, "Morning! Did the deployment go through?");
  await alice.locator(".message.agent:not(.streaming)").first().waitFor();
  await say(bob, "All green. I cut the network twice on the way, and nothing was lost.");
  await alice.locator(".message.agent:not(.streaming)").nth(1).waitFor();
  return [alice, bob];
}

async function shot(page, name) {
  await page.mouse.move(700, 420);
  await page.locator(".notice").first().waitFor({ state: "detached", timeout: 15000 }).catch(() => {});
  await page.screenshot({ path: `${folder}/${name}.png` });
}

try {
  for (const colorScheme of ["light", "dark"]) {
    const page = await playground(browser, `${url}/`, { colorScheme, viewport: { width: 1360, height: 800 } });
    const [alice, bob] = await talk(page);
    if (colorScheme === "light") {
      await say(alice, "Then tell me once more, slowly, what an answer looks like while it is being written: it comes in pieces, everyone in the room sees the same ones, and it goes on when a page is refreshed, a phone changes its network, or the node that carried it dies.");
      await alice.locator(".message.agent.streaming .text", { hasText: "everyone" }).waitFor();
      await bob.locator("textarea").pressSequentially("And it ");
      await page.screenshot({ path: `${folder}/playground.png` });
    } else {
      await alice.getByLabel("WebSocket", { exact: true }).check();
      await online(alice);
      await alice.getByRole("button", { name: "Cut the network" }).click();
      await say(bob, "Are you there?");
      await saying(bob, "Are you there?").first().waitFor();
      await alice.getByRole("button", { name: "Reconnect" }).click();
      await alice.getByText(/Recovered after/).waitFor();
      await saying(alice, "Are you there?").nth(1).waitFor();
      await shot(page, "playground-dark");
    }
    await page.context().close();
  }
  const phone = await playground(browser, `${url}/`, { viewport: { width: 390, height: 760 }, colorScheme: "light", deviceScaleFactor: 2 });
  const carol = await come(phone, "carol");
  await say(carol, "From a phone");
  await carol.locator(".message.agent:not(.streaming)").waitFor();
  await shot(phone, "playground-phone");
} finally {
  await browser.close();
}
