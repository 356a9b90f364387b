// The playground's stories, told in a real browser: node stories.mjs URL STORY
import { accessible, check, come, messages, online, playground, say, saying, second, session, tell, unhurt } from "./browser.mjs";

const PICTURE = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAGElEQVR4nGNgaPiPFTHgEidVglbMOEGCEgB7UH+B3mYVGQAAAABJRU5ErkJggg==",
  "base64",
);

const HOSTILE = `<script>globalThis.hurt = 1</script>

Text <img src="/canary" onerror="globalThis.hurt = 2"> and <b onclick="globalThis.hurt = 3">bold</b>

<iframe src="/canary"></iframe><style>@import "/canary";</style>

[runs](javascript:globalThis.hurt=4) [data](data:text/html,canary) [mixed](JaVaScRiPt:globalThis.hurt=5)
[hidden](java&#115;cript:globalThis.hurt=6) <javascript:globalThis.hurt=7> [referred][there] [here](/canary)
![seen](https://canary.invalid/seen.png) ![own](/canary) [good](https://example.com/a?b=1&amp;c=2 "a \\"title\\" onclick=x")

[there]: javascript:globalThis.hurt=8

\`\`\`js" onclick="globalThis.hurt=9
a < b
  && c
\`\`\``;

/** One of everything. */
const GROWING = `# Head **bold** and more

First, with **bold**, *slanted*, \`code\` and [a link](https://example.com/). Second line
of the same.

Then:
- one
- two with **bold**
  - inner

    a paragraph of the inner

- [x] done

| a | b |
|---|--:|
| 1 | \`x\` |
| 2 | two |

\`\`\`py
x = "| not a table |"
---
\`\`\`

> A quote
> of two lines

1. first
2. second

---

Last [words][there], ~~old~~ &amp; new.

[there]: https://example.com/there
`;

/** In the page: whether this is kept for whoever opens it anew. */
const kept = (text) =>
  new Promise((resolve) => {
    const opened = indexedDB.open("parley");
    opened.onsuccess = () => {
      const asked = opened.result.transaction("pending").objectStore("pending").getAll();
      asked.onsuccess = () => resolve(asked.result.some(({ payload }) => payload.content.includes(text)));
    };
  });

const stories = {
  /** Two people: typing seen, a message, read marks, edit, delete, unread. */
  async conversation(page) {
    const alice = await come(page, "alice");
    await session(page);
    const bob = await second(page, "bob");
    await bob.locator("textarea").pressSequentially("Hel");
    await alice.getByText("bob is typing").waitFor();
    await say(bob, "Hello alice");
    await saying(alice, "Hello alice").waitFor();
    await alice.locator(".typing:not(.on)").waitFor({ state: "attached" });
    await bob.getByText("Seen by alice").waitFor();
    check((await alice.locator(".here li").count()) === 2, "both are shown online");
    check((await saying(alice, "Hello alice").count()) === 1, "a message is shown once");

    await say(alice, "Helo bob");
    const own = saying(alice, "Helo bob");
    await own.hover();
    await own.getByRole("button", { name: "Edit" }).click();
    await say(alice, "Hello bob");
    const edited = saying(bob, "Hello bob");
    await edited.getByText("edited").waitFor();
    check((await saying(bob, "Helo bob").count()) === 0, "the old text is gone");
    await saying(alice, "Hello bob").hover();
    await saying(alice, "Hello bob").getByRole("button", { name: "Delete" }).click();
    await bob.getByText("This message was deleted.").waitFor();

    // Unread: alice looks at another session meanwhile, bob writes in this one.
    const title = await bob.locator("h2").textContent();
    await bob.getByRole("button", { name: "Close" }).click();
    await session(page);
    const other = await second(page, "carol");
    await say(other, "over here");
    await saying(alice, "over here").waitFor();
    await page.locator(".session", { hasText: title }).click();
    await alice.locator("h2", { hasText: title }).waitFor();
    const frames = page.locator(".frame-name");
    await frames.filter({ hasText: "typing" }).first().waitFor({ state: "attached" });
    await page.fill("#frame-filter", "read");
    // The list is drawn anew: what is opened before is closed with it.
    await frames.filter({ hasText: "typing" }).first().waitFor({ state: "detached" });
    await frames.filter({ hasText: "read" }).last().click();
    await page.locator(".frame pre").first().waitFor();
  },

  /** Badges of sessions that one is not in, without asking the server again and again. */
  async unread(page, url) {
    await come(page, "dora");
    await session(page);
    const title = await page.locator(".pane h2").textContent();
    const emil = await second(page, "emil");
    await say(emil, "first");
    await emil.getByText("Seen by dora").waitFor();
    // Emil goes on in a window of his own, in the same session; dora opens another one.
    const token = await page.evaluate(() => JSON.parse(sessionStorage.getItem("parley-playground")).people[1].token);
    const id = await page.evaluate(() => JSON.parse(sessionStorage.getItem("parley-playground")).session);
    await emil.getByRole("button", { name: "Close" }).click();
    await session(page);
    const window = await playground(page.context().browser(), `${url}#token=${token}&session=${id}`);
    await window.waitForSelector("body[data-ready]");
    check(!(await window.evaluate(() => location.hash)).includes("token"), "the token does not stay in the address");
    await say(window.locator(".pane"), "are you there?");
    await page.locator(".session", { hasText: title }).getByLabel("1 unread").waitFor();
    await page.locator(".session", { hasText: title }).click();
    await saying(page.locator(".pane"), "are you there?").waitFor();
    await page.locator(".session", { hasText: title }).locator(".badge").waitFor({ state: "detached" });
    await window.getByText("Seen by dora").waitFor();
    unhurt(window);
  },

  /** A stream: seen by both, refreshed in the middle, stopped. */
  async stream(page) {
    const fay = await come(page, "fay");
    await session(page, "Echo");
    const gil = await second(page, "gil");
    const long = Array.from({ length: 60 }, (_, at) => `word${at}`).join(" ");
    await say(fay, long);
    await fay.locator(".message.agent.streaming").waitFor();
    await gil.locator(".message.agent .text", { hasText: "word3" }).waitFor();
    await page.reload();
    await page.waitForSelector("body[data-ready]");
    // Both are still here, and the answer goes on where it was.
    await fay.locator(".message.agent.streaming .text", { hasText: "word5" }).waitFor();
    await fay.locator(".message.agent:not(.streaming)").waitFor({ timeout: 20000 });
    for (const pane of [fay, gil]) {
      await pane.locator(".message.agent:not(.streaming)").waitFor();
      check((await pane.locator(".message.agent .text").textContent()) === long, "the whole answer, once");
    }
    const endless = "and on ".repeat(600);
    await say(gil, endless);
    const answer = fay.locator(".message.agent").nth(1);
    await answer.locator(".text", { hasText: "and on" }).waitFor();
    await fay.getByRole("button", { name: "Stop the answer" }).click();
    await answer.getByText("stopped", { exact: true }).waitFor();
    await gil.locator(".message.agent").nth(1).getByText("stopped", { exact: true }).waitFor();
    const text = await answer.locator(".text").textContent();
    check(text.length && endless.startsWith(text) && text !== endless, "what was written is kept");
    // By the keyboard alone.
    await say(gil, endless);
    await fay.locator(".message.agent").nth(2).locator(".text", { hasText: "and on" }).waitFor();
    await gil.locator("textarea").press("Escape");
    await fay.locator(".message.agent").nth(2).getByText("stopped", { exact: true }).waitFor();
    check(await fay.getByRole("button", { name: "Stop the answer" }).isHidden(), "nothing is left to stop");
  },

  /** Markdown of an answer: shown as such, and nothing in it runs, is asked for or leads anywhere but to the web. */
  async markdown(page, url) {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: new URL(url).origin });
    const strays = [];
    page.on("request", (request) => /canary/.test(request.url()) && strays.push(request.url()));
    const una = await come(page, "una");
    await session(page, "Echo");
    // Whatever is put into an answer, at any time, is of these.
    await page.evaluate(() => {
      const good = "P,H3,H4,H5,H6,UL,OL,LI,STRONG,EM,DEL,CODE,PRE,A,BR,SPAN,DIV,BUTTON,BLOCKQUOTE,HR,TABLE,THEAD,TBODY,TR,TH,TD".split(",");
      globalThis.others = [];
      new MutationObserver((records) => {
        for (const node of records.flatMap(({ addedNodes }) => [...addedNodes])) {
          for (const each of node.nodeType === 1 && node.closest(".markdown") ? [node, ...node.querySelectorAll("*")] : []) {
            const handler = each.getAttributeNames().some((name) => name.startsWith("on") || name === "style" || name === "src");
            if (handler || !good.includes(each.tagName)) globalThis.others.push(each.outerHTML);
          }
        }
      }).observe(document.body, { subtree: true, childList: true });
    });
    await say(una, HOSTILE);
    const answer = una.locator(".message.agent:not(.streaming) .text");
    await answer.waitFor();
    for (const link of await answer.locator("a").all()) {
      check(/^(https?:|mailto:)/.test(await link.getAttribute("href")), "a link leads to the web");
      check((await link.getAttribute("rel")) === "noopener noreferrer" && (await link.getAttribute("target")) === "_blank", "in a tab of its own");
    }
    for (const word of ["runs", "data", "mixed", "hidden", "referred", "here"]) {
      const text = answer.getByText(word, { exact: true }).last();
      await text.click();
      check((await text.evaluate((node) => node.closest("a"))) === null, `${word} is no link`);
    }
    check((await answer.getByRole("link", { name: "Picture: seen" }).getAttribute("href")) === "https://canary.invalid/seen.png", "a picture's address is a link");
    check((await answer.textContent()).includes("<script>globalThis.hurt = 1</script>"), "HTML is shown as it was written");
    check((await una.locator(".message.own .text").textContent()) === HOSTILE, "people's own words are as they wrote them");
    const { others, hurt } = await page.evaluate(() => ({ others: globalThis.others, hurt: globalThis.hurt }));
    check(!others.length && hurt === undefined && !strays.length, `nothing ran or was asked for: ${[...others, hurt, ...strays]}`);

    await answer.getByRole("button", { name: "Copy" }).click();
    await answer.getByRole("button", { name: "Copied" }).waitFor();
    check((await page.evaluate(() => navigator.clipboard.readText())) === "a < b\n  && c", "the code is copied as it is");

    // Growing letter by letter it ends as it is when read at once, its head stays, and half a fence or table is never text.
    const { differs, moved, flickers } = await page.evaluate(async (text) => {
      const { Markdown } = await import("/web/markdown.js");
      const [growing, whole] = [new Markdown(), new Markdown()];
      const flickers = [];
      let head;
      for (let at = 1; at <= text.length; at += 1) {
        growing.update(text.slice(0, at), true);
        if (at === text.indexOf("Then")) head = growing.element.firstElementChild;
        for (const each of growing.element.querySelectorAll("p, h3, h4")) if (/[`|*]|\]\(|^(- )?-+$/m.test(each.textContent)) flickers.push(each.textContent);
      }
      const moved = head !== growing.element.firstElementChild;
      growing.update(text);
      whole.update(text);
      return { differs: growing.element.innerHTML !== whole.element.innerHTML && growing.element.innerHTML, moved, flickers };
    }, GROWING);
    check(!flickers.length, `nothing flickers: ${flickers.slice(0, 3)}`);
    check(!moved, "what is read for good is not made again");
    check(!differs, `it ends as it is read at once: ${differs}`);
    // A long one costs as much as it is long: what is there is not made again with each piece.
    const { made, left } = await page.evaluate(async (text) => {
      const { Markdown } = await import("/web/markdown.js");
      const long = new Markdown();
      let made = 0;
      const count = (records) => (made += records.reduce((sum, { addedNodes }) => sum + addedNodes.length, 0));
      const watch = new MutationObserver(count);
      watch.observe(long.element, { childList: true });
      for (let at = 0; at < text.length; at += 50) long.update(text.slice(0, at), true);
      long.update(text);
      count(watch.takeRecords());
      return { made, left: long.element.childElementCount };
    }, "Some **words** and `code` of a paragraph that goes on for a while, and ends.\n\n".repeat(500));
    check(left === 500 && made < 4 * left, `${made} blocks are made for ${left}`);
    // A line of marks alone costs no more than another one.
    const late = await page.evaluate(async () => {
      const { steady } = await import("/web/markdown.js");
      const began = performance.now();
      for (const mark of "`*~_") steady(`${mark.repeat(50_000)}x${mark}y`);
      return performance.now() - began;
    });
    check(late < 1000, `${late} ms for four lines`);
    await accessible(page, "an answer in Markdown");
  },

  /** An answer of parts: seen as they come; after a cut, a late join and a reload what history has; by keys and on a phone. */
  async parts(page) {
    const vera = await come(page, "vera");
    await session(page, "Echo");
    const will = await second(page, "will");
    await say(vera, "/parts");
    const answer = vera.locator(".message.agent").first();
    await answer.locator(".reasoning").waitFor();
    await will.getByRole("button", { name: "Cut the network" }).click();
    await answer.locator('.tool[data-state="output_error"]').waitFor();
    check(!(await answer.locator(".reasoning[open], .tool[open]").count()), "what is done is folded");
    await will.getByRole("button", { name: "Reconnect" }).click();
    await vera.getByLabel("SSE + REST", { exact: true }).check(); // joins anew, in the middle
    await answer.locator(".text", { hasText: "just watched" }).waitFor();
    const known = async () => {
      await vera.locator(".message.agent:not(.streaming) .sources").waitFor();
      await will.locator(".message.agent:not(.streaming) .sources").waitFor();
      return page.evaluate(async () => {
        const people = playground.panes.map(({ person }) => person);
        const shown = people.map(({ room }) => room.messages.at(-1));
        const { messages } = await people[0].rest("GET", `/api/chat/sessions/${people[0].room.sessionId}/messages`);
        return [...shown, messages.at(-1)].map(({ parts, content, status, model }) => JSON.stringify([content, parts, status, model]));
      });
    };
    for (const when of ["as it came", "after a reload"]) {
      const [one, other, history] = await known();
      check(one === history && other === history, `${when} it is what history has: ${[one, other, history].join("\n")}`);
      await page.reload();
      await page.waitForSelector("body[data-ready]");
    }
    await known();
    // What is being thought or carried out is open, and folded when it is done.
    await vera.getByLabel("WebSocket", { exact: true }).check();
    await online(vera);
    const tell = (name, data) => page.evaluate(([type, data]) => {
      const { room, network } = playground.panes[0].person;
      const [line] = network.lines;
      line.onmessage({ data: JSON.stringify({ type, session_id: room.sessionId, message_id: "told", count: 1, ...data }) });
    }, [name, data]);
    const told = vera.locator('.message[data-id="told"]');
    const tool = { type: "tool", id: "t", tool_call_id: "c", name: "count", executed_by: "agent" };
    await tell("stream_start", { seq: 1000, revision: 1000, sender_id: "1", sender_type: "agent", timestamp: new Date().toISOString() });
    await tell("stream_part", { index: 0, part: { type: "reasoning", id: "r", text: "" } });
    await tell("stream_delta", { index: 1, part: "r", content: "A thought that is **open**" });
    await told.locator(".reasoning[open]", { hasText: "A thought that is open" }).waitFor();
    await tell("stream_part", { index: 2, part: { ...tool, state: "input_streaming" } });
    await tell("stream_delta", { index: 3, part: "t", content: '{"to": 1' });
    await told.locator(".tool[open]", { hasText: '{"to": 1' }).waitFor();
    check(!(await told.locator(".reasoning[open]").count()), "a thought that is over is folded");
    await tell("stream_part", { index: 4, part: { ...tool, state: "output_error", input: { to: 1 }, error: "no numbers" } });
    await tell("stream_end", { revision: 1001, status: "complete", finish_reason: "length" });
    await told.locator(".tool:not([open])", { hasText: "failed" }).waitFor();
    await told.getByText("The model reached its limit").waitFor();

    const link = answer.locator(".sources a");
    check(/^https:/.test(await link.getAttribute("href")) && (await link.getAttribute("rel")) === "noopener noreferrer", "a source is a link");
    await answer.locator(".cost", { hasText: "echo" }).waitFor(); // which model
    await answer.locator(".reasoning summary").press("Enter");
    await answer.getByText("I look that up first").waitFor();
    await answer.locator(".tool summary", { hasText: "Look it up" }).press("Space");
    await answer.getByLabel("Output").getByText("reasoning").waitFor();
    await accessible(page, "an answer of parts");
    await page.setViewportSize({ width: 390, height: 844 });
    const wide = await page.evaluate(() => Math.max(...[...document.querySelectorAll(".messages")].map(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)));
    check(wide <= 0, `it fits a phone: ${wide}`);
    await will.getByRole("button", { name: "Cut the network" }).click(); // is there with two people, too
  },

  /** The network is cut, and left half-open, at each door; nothing is lost, nothing twice. */
  async recovery(page) {
    const hana = await come(page, "hana");
    await session(page);
    const ivo = await second(page, "ivo");
    let count = 0;
    for (const door of ["Socket.IO", "WebSocket", "SSE + REST"]) {
      await hana.getByLabel(door, { exact: true }).check();
      await online(hana);
      await page.waitForFunction((many) => document.querySelectorAll(".pane .messages")[0].querySelectorAll(".message").length === many, count);
      await hana.getByRole("button", { name: "Cut the network" }).click();
      await hana.getByText("network cut").waitFor();
      for (const word of ["one", "two", "three"]) {
        await say(ivo, `${door} ${word}`);
        await saying(ivo, `${door} ${word}`).waitFor();
      }
      check((await messages(hana).count()) === count, "while cut off, nothing comes");
      await say(hana, `${door} from the tunnel`);
      await hana.getByText("waits for the network").waitFor();
      check(await page.evaluate(kept, "from the tunnel"), "what was said is kept over a refresh");
      await hana.getByRole("button", { name: "Reconnect" }).click();
      await hana.getByText(/Recovered after/).waitFor();
      await saying(hana, `${door} three`).waitFor();
      await saying(ivo, `${door} from the tunnel`).waitFor();
      await hana.locator(".unsent li").waitFor({ state: "detached" });
      await hana.getByRole("button", { name: "Kill half-open" }).click();
      await say(ivo, `${door} four`);
      await saying(hana, `${door} four`).waitFor();
      count += 5;
      check((await messages(hana).count()) === count, `all ${count}, each once`);
      const texts = await hana.locator(".message .text").allTextContents();
      check(new Set(texts).size === count, "no message twice");
      await online(hana);
    }
    // A refresh in the tunnel: it is sent by the page that comes after, once.
    await hana.getByRole("button", { name: "Cut the network" }).click();
    await say(hana, "over a refresh");
    await hana.getByText("waits for the network").waitFor();
    await page.reload();
    await page.waitForSelector("body[data-ready]");
    await saying(ivo, "over a refresh").waitFor();
    await online(hana);
    check((await saying(hana, "over a refresh").count()) === 1, "what was said before a refresh is there, once");
  },

  /** A picture with its thumbnail, a text, one that is refused. */
  async files(page) {
    const jun = await come(page, "jun");
    await session(page);
    const kai = await second(page, "kai");
    await jun.locator("input[type=file]").setInputFiles({ name: "square.png", mimeType: "image/png", buffer: PICTURE });
    const image = kai.getByRole("img", { name: "square.png" });
    await image.waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll(".file img")].length === 2 && [...document.querySelectorAll(".file img")].every((each) => each.naturalWidth > 0));
    await jun.locator("input[type=file]").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("hello") });
    await kai.getByRole("link", { name: /notes.txt/ }).waitFor();
    await jun.locator("input[type=file]").setInputFiles({ name: "bad.bin", mimeType: "application/x-unknown", buffer: Buffer.from([0, 1, 2, 3]) });
    await page.locator(".notice.error").waitFor();
    // One that this browser cannot show is a file like others.
    await kai.getByRole("img", { name: "square.png" }).evaluate((picture) => picture.dispatchEvent(new Event("error")));
    await kai.getByRole("link", { name: "square.png" }).locator("svg").waitFor();
    await page.setViewportSize({ width: 800, height: 740 });
    const covered = await page.evaluate(() => {
      const notice = document.querySelector(".notice.error").getBoundingClientRect();
      return [...document.querySelectorAll(".top, .pane-head, .composer, .tabs")]
        .filter((each) => each.checkVisibility())
        .filter((each) => {
          const { top, bottom, left, right } = each.getBoundingClientRect();
          return notice.top < bottom && notice.bottom > top && notice.left < right && notice.right > left;
        })
        .map(({ className }) => className);
    });
    check(!covered.length, `a notice covers nothing that is used: ${covered}`);
    await page.getByRole("button", { name: "Sessions", exact: true }).click();
    await page.locator('.session[aria-current="true"]', { hasText: "notes.txt" }).waitFor(); // what a file's line says
  },

  /** Many frames and a long text do not move the page; no two people look alike; Korean breaks between words; failures in words. */
  async small(page) {
    const oda = await come(page, "oda");
    await session(page);
    const long = `${"말 ".repeat(12500)}끝`;
    await oda.locator("textarea").fill(long);
    await oda.locator("textarea").press("Enter");
    await oda.locator('.message .text[lang="ko"]', { hasText: "끝" }).waitFor();
    check((await oda.locator(".message .text").textContent()).length === long.length, "a long text is sent as it is");
    for (let at = 0; at < 25; at += 1) await say(oda, `line ${at}`);
    await saying(oda, "line 24").waitFor();
    const { height, colours, words } = await page.evaluate(async () => {
      const { hue } = await import("/web/dom.js");
      const { lost, told } = await import("/web/failures.js");
      const height = document.documentElement.scrollHeight - innerHeight;
      return { height, colours: new Set(["a", "i", "q", "y"].map(hue)).size, words: [told({ message: "at most 10485760 bytes" }), lost({ message: "Failed to fetch" })] };
    });
    const stops = await page.locator("#frames").evaluate((list) => [...list.querySelectorAll("summary, pre, button, a")].filter(({ tabIndex }) => tabIndex >= 0).length);
    check(stops === 0 && (await page.locator("#frames summary").count()) > 20, `frames are one stop of the Tab key, not ${stops}`);
    check(height <= 0, `the page itself does not scroll: ${height}`);
    check(colours === 4, "people have colours of their own");
    check(words.join() === "at most 10.5 MB,the server cannot be reached", `failures are told in words: ${words}`);
  },

  /** Search finds what was said, and goes there. */
  async search(page) {
    const jun = await come(page, "jun");
    await session(page);
    const kai = await second(page, "kai");
    const word = `kingfisher${Date.now()}`;
    await say(kai, `The ${word} sat on the jetty`);
    for (let at = 0; at < 5; at += 1) await say(kai, `something else ${at}`);
    await saying(jun, "something else 4").waitFor();
    await page.fill("#query", word);
    const hit = page.locator(".hit", { hasText: word });
    await hit.waitFor();
    check((await hit.locator("mark").count()) >= 1, "what was looked for is marked");
    await hit.click();
    await jun.locator(".message.found-here", { hasText: word }).waitFor();

    // The way back leads to the session before.
    const title = await page.locator(".pane h2").first().textContent();
    await session(page);
    check(/#session=sess_/.test(page.url()), "a session has its address");
    await page.goBack();
    await page.locator(".pane h2").first().getByText(title, { exact: true }).waitFor();
  },

  /** axe-core: light and dark, with much on the page, the dialog, a phone. */
  async accessibility(page, url) {
    await accessible(page, "the first dialog");
    const lea = await come(page, "lea");
    await session(page, "Echo");
    const max = await second(page, "max");
    await say(lea, "A message to be answered");
    await lea.locator(".message.agent:not(.streaming)").waitFor();
    await say(max, "word ".repeat(100));
    await lea.locator(".message.agent.streaming").waitFor();
    await lea.getByRole("button", { name: "Cut the network" }).click();
    await page.locator(".frame summary").last().click();
    for (const theme of ["light", "dark"]) {
      await page.evaluate((name) => (document.documentElement.dataset.theme = name), theme);
      await page.locator(".notice").first().waitFor({ state: "detached" });
      await accessible(page, `the conversation, ${theme}`);
    }
    await page.setViewportSize({ width: 390, height: 844 });
    for (const tab of ["Sessions", "Frames", "Chat"]) {
      await page.getByRole("button", { name: tab, exact: true }).click();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      check(wide <= 390, `${tab} fits a phone: ${wide}`);
      await accessible(page, `${tab} on a phone`);
    }
  },

  /** Everything by keyboard alone. */
  async keyboard(page) {
    await page.locator("#enter[open]").waitFor();
    await page.keyboard.press("Enter"); // the dialog, with the name that is there
    await page.waitForSelector("body[data-ready]");
    await session(page);
    const alice = page.locator(".pane");
    await alice.locator("textarea").focus();
    await page.keyboard.type("by keys");
    await page.keyboard.press("Enter");
    await saying(alice, "by keys").waitFor();
    await page.keyboard.press("ArrowUp"); // the last message again
    await page.keyboard.type("!");
    await page.keyboard.press("Enter");
    await saying(alice, "by keys!").getByText("edited").waitFor();
    await saying(alice, "by keys!").getByRole("button", { name: "Delete" }).focus();
    await page.keyboard.press("Enter");
    await alice.getByText("This message was deleted.").waitFor();
    await page.locator("#frames").focus();
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("Enter");
    await page.locator(".frame details[open] pre").waitFor();
    await alice.getByLabel("Socket.IO").focus();
    await page.keyboard.press("ArrowRight");
    check(await alice.getByLabel("WebSocket").isChecked(), "the transport is chosen by arrow keys");
    await online(alice);
    await alice.getByText("This message was deleted.").waitFor();
  },
};

await tell(stories);
