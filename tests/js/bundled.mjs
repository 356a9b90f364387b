// Pages of examples/, or of a `source`, in a real Chromium, bundled with the packages of this folder, under a test's control:
// node bundled.mjs PORT, where they stand, each at /EXAMPLE/. Each line in is {call, command, name, ...}, each line out {call, result} or {call, error}.
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const here = fileURLToPath(new URL(".", import.meta.url));
// What a page loads when it shows code or a diagram: half of all packages, and nothing that is tried here.
const LATER = { name: "later", setup: (build) => build.onResolve({ filter: /mermaid|shiki|code-block/ },
  ({ kind, path }) => kind === "dynamic-import" ? { path, external: true } : undefined) };
const built = new Map();
async function bundle(example, source = `${here}../../examples/${example}/src/main.tsx`, mode = "production") {
  const { outputFiles } = await build({
    entryPoints: [source], bundle: true, write: false, outdir: "out",
    format: "esm", jsx: "automatic", nodePaths: [`${here}node_modules`], plugins: [LATER], logLevel: "error",
    define: { "process.env.NODE_ENV": JSON.stringify(mode) },
    loader: { ".woff2": "empty", ".woff": "empty", ".ttf": "empty" },
  });
  const text = (end) => outputFiles.find(({ path }) => path.endsWith(end))?.text ?? "";
  const document = `<!doctype html><meta charset="utf-8"><style>${text(".css")}</style>
    <div id="root" style="height: 100vh"></div><script type="module" src="main.js"></script>`;
  return { script: text(".js"), document };
}

const origin = `http://127.0.0.1:${process.argv[2]}`;
const server = createServer(({ url }, answer) => {
  const [, example, file] = url.split("/");
  const isScript = file === "main.js", page = built.get(example);
  answer.writeHead(page ? 200 : 404, { "content-type": isScript ? "text/javascript" : "text/html" });
  answer.end(isScript ? page?.script : page?.document);
}).listen(Number(process.argv[2]), "127.0.0.1");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext({ reducedMotion: "reduce" });
context.setDefaultTimeout(15000);
const pages = new Map();

const commands = {
  async open({ name, example, query, address, source, mode }) {
    if (!address && !built.has(example)) built.set(example, await bundle(example, source, mode));
    const page = await context.newPage();
    const faults = [];
    pages.set(name, { page, faults });
    page.on("pageerror", (error) => faults.push(String(error)));
    await page.goto(`${address || `${origin}/${example}/`}?${new URLSearchParams(query)}`);
  },
  async ask({ name, text }) {
    const { page } = pages.get(name);
    await page.getByRole("textbox").fill(text);
    await page.getByRole("textbox").press("Enter");
  },
  async type({ name, label, text, enter }) {
    const field = pages.get(name).page.getByLabel(label);
    await field.fill(text);
    if (enter) await field.press("Enter");
  },
  fill: ({ name, text }) => pages.get(name).page.getByRole("textbox").fill(text),
  upload: ({ name, file, content }) => pages.get(name).page.locator("input[type=file]")
    .setInputFiles({ name: file, mimeType: "text/plain", buffer: Buffer.from(content) }),
  sees: ({ name, selector }) => pages.get(name).page.locator(selector).first().waitFor(),
  texts: ({ name, selector }) => pages.get(name).page.locator(selector).allInnerTexts(),
  faults: ({ name }) => pages.get(name).faults,
  click: ({ name, role, label }) => pages.get(name).page.getByRole(role, { name: label, exact: true }).click(),
  press: ({ name, test }) => pages.get(name).page.getByTestId(test).click(),
  wait: ({ name, text }) => pages.get(name).page.getByText(text, { exact: true }).first().waitFor(),
  reload: ({ name }) => pages.get(name).page.reload(),
  shown: async ({ name, test }) => {
    const found = pages.get(name).page.getByTestId(test);
    return { texts: (await found.allInnerTexts()).map((each) => each.trim()), faults: pages.get(name).faults };
  },
  run: ({ name, script }) => pages.get(name).page.evaluate(script),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, command, ...given } = JSON.parse(line);
  Promise.resolve().then(() => commands[command](given)).then(
    (result) => process.stdout.write(JSON.stringify({ call, result }) + "\n"),
    (error) => process.stdout.write(JSON.stringify({ call, error: String(error.stack) }) + "\n"));
}
await browser.close();
server.close();
