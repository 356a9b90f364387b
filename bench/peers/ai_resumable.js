// What pages with the AI SDK have today for answers that outlive a refresh: an answer's stream made by the SDK,
// kept by `resumable-stream` in Redis, and read again from there. As both packages' documents have it, with the
// token checked. It stores no message.
//   ai_resumable.js PORT          JWT_SECRET_KEY, REDIS_URL, PIECE (characters), PAUSE (milliseconds)
const { createServer } = require("http");
const { Readable, pipeline } = require("stream");
const { createUIMessageStream, createUIMessageStreamResponse, UI_MESSAGE_STREAM_HEADERS } = require("ai");
const jwt = require("jsonwebtoken");
const { createClient } = require("redis");
const { createResumableStreamContext } = require("resumable-stream");

const key = process.env.JWT_SECRET_KEY;
const piece = Number(process.env.PIECE);
const pause = Number(process.env.PAUSE);
const redis = createClient({ url: process.env.REDIS_URL });
const context = createResumableStreamContext({ waitUntil: null });

function answer(text) {
  return createUIMessageStream({
    execute: async ({ writer }) => {
      writer.write({ type: "start" });
      writer.write({ type: "text-start", id: "text" });
      for (let at = 0; at < text.length; at += piece) {
        if (at) await new Promise((then) => setTimeout(then, pause));
        writer.write({ type: "text-delta", id: "text", delta: text.slice(at, at + piece) });
      }
      writer.write({ type: "text-end", id: "text" });
      writer.write({ type: "finish" });
    },
  });
}

// Whatever fails, or goes away, is the end of this response.
function tell(stream, response) {
  pipeline(Readable.fromWeb(stream), response, () => {});
}

async function ask(request, response) {
  let body = "";
  for await (const some of request.setEncoding("utf8")) body += some;
  const { id, messages } = JSON.parse(body);
  const told = createUIMessageStreamResponse({
    stream: answer(messages.at(-1).parts[0].text),
    async consumeSseStream({ stream }) {
      const streamId = `${id}-${Date.now()}`;
      await context.createNewResumableStream(streamId, () => stream);
      await redis.set(`active:${id}`, streamId);
    },
  });
  response.writeHead(200, Object.fromEntries(told.headers));
  tell(told.body, response);
}

async function resume(id, response) {
  const streamId = await redis.get(`active:${id}`);
  const stream = streamId && (await context.resumeExistingStream(streamId));
  if (!stream) {
    response.writeHead(204).end();
    return;
  }
  response.writeHead(200, UI_MESSAGE_STREAM_HEADERS);
  tell(stream, response);
}

const server = createServer((request, response) => {
  try {
    jwt.verify((request.headers.authorization || "").slice("Bearer ".length), key, { algorithms: ["HS256"] });
  } catch {
    response.writeHead(401).end();
    return;
  }
  const [, id] = /^\/api\/ai\/chat\/([^/]+)\/stream$/.exec(request.url.split("?")[0]) || [];
  const done = id === undefined ? ask(request, response) : resume(id, response);
  done.catch((error) => response.destroy(error));
});

redis.connect().then(() => server.listen(Number(process.argv[2]), "127.0.0.1"));
