// What a message is made of: the fold of a stream's events into its parts. Pure.

/** The id of the text part that nobody named. */
const OWN = "text";

/** The message with its `parts`, also where it is one text and the wire leaves them out. */
export function shaped(message) {
  return message.parts ? message : { ...message, parts: derived(message.content) };
}

export function derived(content) {
  return content ? [{ type: "text", id: OWN, text: content }] : [];
}

/** `message` after the next event of its stream. */
export function grown(message, name, data) {
  const { parts, content } = message;
  if (name === "stream_chunk") {
    return { ...message, content: content + data.content, parts: longer(parts, data.part ?? OWN, data.content) };
  }
  if (name === "stream_delta") return { ...message, parts: longer(parts, data.part, data.content) };
  if (data.part.transient) return { ...message, passing: data.part };
  const next = replaced(parts, data.part);
  return { ...message, parts: next, content: textOf(next) };
}

/** What a reader of text alone is shown. */
function textOf(parts) {
  return parts.filter(({ type }) => type === "text").map(({ text }) => text).join("\n\n");
}

function replaced(parts, part) {
  const at = parts.findIndex(({ id }) => id === part.id);
  return at < 0 ? [...parts, part] : parts.map((each, place) => (place === at ? part : each));
}

function longer(parts, id, text) {
  const part = parts.find((each) => each.id === id) ?? { type: "text", id };
  const field = part.type === "tool" ? "input_text" : "text";
  return replaced(parts, { ...part, [field]: (part[field] ?? "") + text });
}
