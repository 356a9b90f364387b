// What a message is made of: the fold of a stream's events into its parts. Knows no room and no DOM.

/** The id of the text part that nobody named. */
const OWN = "text";

/** A message's parts; those of plain text are derived. */
export function partsOf({ parts, content }) {
  return parts ?? (content ? [{ type: "text", id: OWN, text: content }] : []);
}

/** What a client that knows text alone shows. */
export function contentOf(parts) {
  return parts.filter(({ type }) => type === "text").map(({ text }) => text).join("\n\n");
}

/** As history has them: undefined where the message's own text says all. */
export function kept(parts) {
  const [part] = parts ?? [];
  return !part || (parts.length === 1 && part.id === OWN && part.text) ? undefined : parts;
}

/**
 * `message`, which is changed, after the next event of its stream. Text goes to the end of its part, a whole part takes
 * the place of the one with its id, and one that is new comes last. A chunk goes to the end of `content`, too.
 */
export function grow(message, name, data) {
  // With the first that is not plain text: whatever came before was.
  if (name !== "stream_chunk" || (data.part ?? OWN) !== OWN) message.parts ??= partsOf(message);
  const { parts } = message;
  if (name === "stream_chunk") {
    message.content += data.content;
    if (parts) append(parts, data.part ?? OWN, data.content);
  } else if (name === "stream_delta") append(parts, data.part, data.content);
  else if (!data.part.transient) put(message, data.part);
}

function append(parts, id, text) {
  let part = parts.find((each) => each.id === id);
  if (!part) parts.push((part = { type: "text", id }));
  const field = part.type === "tool" ? "input_text" : "text";
  part[field] = (part[field] ?? "") + text;
}

function put(message, part) {
  const { parts } = message;
  const at = parts.findIndex(({ id }) => id === part.id);
  if (at < 0) parts.push(part);
  else parts[at] = part;
  message.content = contentOf(parts);
}

/** What a call is shown as: a title is its server's word, so the tool's name stands with it. */
export function toolNamed({ name, title }) {
  return title && title !== name ? `${title} (${name})` : name;
}
