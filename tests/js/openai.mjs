// OpenAI's own library against a Parley: node openai.mjs BASE_URL TOKEN MODEL; what it saw, as one JSON object.
// MODEL breaks off both times that it is asked.
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const parts = { model: "Echo", messages: [{ role: "user", content: "/parts" }] };
const seen = {};

function shown({ choices: [{ message, finish_reason }], metadata }) {
  const { content, reasoning_content: reasoning, tool_calls = [] } = message;
  return { content, reasoning, finish_reason, tool_calls: tool_calls.length, session_id: metadata.session_id };
}

const broken = { model, messages: [{ role: "user", content: "?" }] };
seen.streamed_text = "";
try {
  for await (const chunk of await client.chat.completions.create({ ...broken, stream: true }))
    seen.streamed_text += chunk.choices[0].delta.content ?? "";
} catch (error) { seen.streamed_error = error.code; }
seen.whole_error = await client.chat.completions.create(broken).catch((error) => error.code);

seen.models = [];
for await (const { id } of client.models.list()) seen.models.push(id);
seen.whole = shown(await client.chat.completions.create(parts));
const stream = client.chat.completions.stream({ ...parts, stream_options: { include_usage: true } });
seen.streamed = shown(await stream.finalChatCompletion());
seen.usage = (await stream.totalUsage()).total_tokens;
seen.not_found = await client.chat.completions.create({ ...parts, model: "nobody" })
  .catch((error) => [error.constructor.name, error.code]);
seen.unauthorized = await new OpenAI({ baseURL, apiKey: "nonsense" }).models.list()
  .catch((error) => error.constructor.name);
console.log(JSON.stringify(seen));
