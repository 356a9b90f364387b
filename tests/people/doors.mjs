// The page and its doors: how it comes to the server, what it loads, how much it bears: node doors.mjs URL STORY …
import { check, come, online, say, saying, tell } from "./browser.mjs";

const stories = {
  /** Five thousand messages: the page stays quick. */
  async many(page, url, id, token) {
    await page.goto(`${url}/?#token=${token}&session=${id}`);
    await page.waitForSelector("body[data-ready]");
    const pane = page.locator(".pane");
    await saying(pane, "line 4999").waitFor();
    await page.evaluate(() => {
      globalThis.slowest = 0;
      new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) globalThis.slowest = Math.max(globalThis.slowest, duration);
      }).observe({ entryTypes: ["longtask"] });
    });
    // All the way up, as somebody who keeps scrolling does.
    const first = pane.locator(".text", { hasText: /^line 0$/ });
    for (let at = 0; at < 400 && !(await first.count()); at += 1) {
      await pane.locator(".messages").evaluate((list) => (list.scrollTop = 0));
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    }
    await first.waitFor();
    const loaded = await pane.locator(".message").count();
    check(loaded <= 200, `only a window of them is in the page: ${loaded}`);
    await pane.getByRole("button", { name: "Newest" }).click();
    await saying(pane, "line 4999").waitFor();
    const began = Date.now();
    await say(pane, "and one more");
    await saying(pane, "and one more").waitFor();
    check(Date.now() - began < 2000, `a message shows at once: ${Date.now() - began} ms`);
    const slowest = await page.evaluate(() => globalThis.slowest);
    check(slowest < 500, `no task holds the page up: ${slowest} ms`);
    console.log(`slowest task ${slowest.toFixed(0)} ms, ${loaded} of 5000 in the page`);
  },

  /** A page that goes to the back/forward cache closes its connection, and one that is shown again opens it. */
  async cached(page) {
    const nia = await come(page, "nia");
    for (const [door, path] of [["WebSocket", "/ws/"], ["Socket.IO", "/socket.io/"]]) {
      const opened = page.waitForEvent("websocket", (socket) => socket.url().includes(path));
      await nia.getByLabel(door, { exact: true }).check();
      const socket = await opened;
      await online(nia);
      await say(nia, `before, by ${door}`);
      await saying(nia, `before, by ${door}`).first().waitFor();
      const [again] = await Promise.all([
        page.waitForEvent("websocket", (other) => other.url().includes(path)),
        socket.waitForEvent("close"),
        page.evaluate(() => dispatchEvent(new Event("pagehide"))),
      ]);
      check(!again.isClosed(), "it is open again");
      await say(nia, `after, by ${door}`);
      await saying(nia, `after, by ${door}`).first().waitFor();
    }
  },

  /** Below a proxy's path: everything that the page loads and calls is found there. */
  async below(page, url, id, token) {
    const strays = [];
    page.on("response", (response) => {
      const { pathname } = new URL(response.url());
      const missing = response.status() >= 400 && !pathname.includes("/vendor/"); // no package here
      if (!pathname.startsWith("/chat/") || missing) strays.push(`${response.status()} ${pathname}`);
    });
    for (const door of ["websocket", "sse"]) {
      await page.goto(`${url}/?${door}#token=${token}&session=${id}`);
      await page.waitForSelector("body[data-ready]");
      const pane = page.locator(".pane");
      await pane.getByLabel(door === "sse" ? "SSE + REST" : "WebSocket", { exact: true }).check({ force: true });
      await say(pane, `by ${door}`);
      await saying(pane, `by ${door}`).first().waitFor();
    }
    check(strays.length === 0, `nothing is asked elsewhere: ${strays}`);
  },

  /** Socket.IO begins with a WebSocket; where none comes through, it goes by polling. */
  async transport(page, url, withoutWebSockets, id, token) {
    const polls = [];
    page.on("request", (request) => request.url().includes("transport=polling") && polls.push(request.url()));
    const entry = `?socketio#token=${token}&session=${id}`;
    await page.goto(`${url}/${entry}`);
    await online(page.locator(".pane"));
    check(!polls.length, `no connection that was kept is asked first: ${polls}`);
    await page.goto(`${withoutWebSockets}/${entry}`);
    await online(page.locator(".pane"));
    check(polls.length, "it polls");
    await say(page.locator(".pane"), "by polling");
    await saying(page.locator(".pane"), "by polling").first().waitFor();
    // Chromium itself says so of the one that did not come through.
    page.faults = page.faults.filter((fault) => !/^WebSocket connection to/.test(fault));
  },

  /** Without the official client's package the page says so, and works. */
  async bare(page) {
    await page.getByText("The Socket.IO client is not here").waitFor();
    const nia = await come(page, "nia");
    check(await nia.getByLabel("Socket.IO").isDisabled(), "Socket.IO cannot be chosen");
    check(await nia.getByLabel("WebSocket").isChecked(), "the raw WebSocket is there");
    await say(nia, "it works");
    await saying(nia, "it works").first().waitFor();
  },
};

await tell(stories, (name, url) => (["many", "below", "transport"].includes(name) ? "about:blank" : `${url}/`));
