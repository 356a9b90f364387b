// A Chromium for many stories, until standard input ends: node shared.mjs prints where it is.
import { serve } from "./browser.mjs";

const server = await serve();
console.log(server.wsEndpoint());
process.stdin.on("end", () => server.close());
process.stdin.resume();
