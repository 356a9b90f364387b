// OpenAI's own library against a Parley: node openai.mjs BASE_URL TOKEN MODEL; what it saw, as one JSON object.
// MODEL calls the first two programs' tool, and breaks off each time that it is asked later.
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const parts = { model: "Echo", messages: [{ role: "user", content: "/parts" }] };
const seen = {};

function shown({ choices: [{ message, finish_reason }], metadata }) {
  const { content, reasoning_content: reasoning, tool_calls = [] } = message;
  return { content, reasoning, finish_reason, tool_calls: tool_calls.length, session_id: metadata.session_id };
}

// The library calls functions by itself; it sends the whole conversation each time.
const parameters = { type: "object", properties: { of: { type: "integer" } } };
const pick = { name: "pick", parameters, parse: JSON.parse, function: ({ of }) => ({ picked: of }) };
const tooled = { model, messages: [{ role: "user", content: "Which?" }], tools: [{ type: "function", function: pick }] };
seen.ran = await client.chat.completions.runTools(tooled).finalContent();
seen.ran_streamed = await client.chat.completions.runTools({ ...tooled, stream: true }).finalContent();

const broken = { model, messages: [{ role: "user", content: "?" }] };
seen.streamed_text = "";
try {
  for await (const chunk of await client.chat.completions.create({ ...broken, stream: true }))
    seen.streamed_text += chunk.choices[0].delta.content ?? "";
} catch (error) { seen.streamed_error = error.code; }
seen.whole_error = await client.chat.completions.create(broken).catch((error) => error.code);

// The same as responses: the helper takes no event that does not fit those before it.
const failing = { model, input: "?" };
const failed = await client.responses.stream(failing).finalResponse();
seen.failed = [failed.status, failed.error.code, failed.output_text];
seen.response_error = await client.responses.create(failing).catch((error) => error.code);
const asked = { model: "Echo", input: "/parts" };
const streamed = await client.responses.stream(asked).finalResponse();
const whole = await client.responses.retrieve(streamed.id);
seen.responses = [streamed, whole].map(({ status, output_text, output, conversation }) =>
  ({ status, output_text, output: output.map(({ type }) => type), session_id: conversation.id }));
const events = [];
for await (const event of await client.responses.retrieve(streamed.id, { stream: true })) events.push(event);
const middle = events[Math.floor(events.length / 2)].sequence_number;
const rest = await client.responses.retrieve(streamed.id, { stream: true, starting_after: middle });
seen.rest = [];
for await (const { sequence_number } of rest) seen.rest.push(sequence_number);
seen.expected = events.map((event) => event.sequence_number).filter((number) => number > middle);
// The helper asks for all of it, and leaves out what its caller has.
const again = client.responses.stream({ response_id: streamed.id, starting_after: middle });
seen.again = (await again.finalResponse()).output_text;

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
