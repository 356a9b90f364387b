// Server-sent events for what happens, REST for what is done.
import { asError } from "../errors.js";
import { answered, pathOf } from "../rest.js";
import { lines } from "./lines.js";

/** Milliseconds without a byte after which a stream is dead: the server writes a comment every 15 s. */
const SILENT = 40000;

export function sse(rest, on) {
  return lines(rest, on, (session) => new Stream(rest, session));
}

class Stream {
  #controller = null;

  constructor(rest, session) {
    [this.rest, this.session] = [rest, session];
  }

  async run({ position, token, query, heard }) {
    const controller = (this.#controller = new AbortController());
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(), SILENT);
    };
    const headers = { Authorization: `Bearer ${token}`, ...(position && { "Last-Event-ID": position }) };
    const path = `${pathOf(this.session.id)}/events${query({})}`;
    try {
      alive();
      const response = await this.rest.network.fetch(this.rest.base + path, { headers, signal: controller.signal, cache: "no-store" });
      if (!response.ok) answered(response.status, await response.text());
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return null;
        alive();
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const error = told(block, heard);
          if (error) return error;
        }
      }
    } catch (thrown) {
      return asError(thrown);
    } finally {
      clearTimeout(timer);
    }
  }

  end() {
    this.#controller?.abort();
  }
}

/** What a block says; an error, where the server ends the stream with one. */
function told(block, heard) {
  const event = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
  }
  if (!event.data) return null;
  const data = JSON.parse(event.data);
  if (event.event === "error" && !data.command) return asError(data);
  heard(event.event, data, event.id);
  return null;
}
