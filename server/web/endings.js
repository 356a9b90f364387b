// How an answer ended and what it took, in words. Knows no DOM.

/** Beside the sender's name. */
const FLAGS = { streaming: "writing…", waiting: "waits for an answer", cancelled: "stopped", interrupted: "interrupted", failed: "failed" };
const REASONS = {
  length: "cut at its limit", content_filter: "filtered", tool_calls: "asked for tools", error: "broken off", other: "ended early",
};
/** A sentence below the text: what the reader should know of an answer that is not whole. */
const SENTENCES = {
  cancelled: "Somebody stopped this answer. This is what was written until then.",
  interrupted: "What wrote this answer went away. This is what was written until then.",
  length: "The model reached its limit: the answer ends in the middle.",
  content_filter: "A filter of the model's provider held back the answer, or the rest of it.",
  tool_calls: "The model asked for tools that nobody carried out.",
  error: "The model broke off.",
  other: "The model ended before its answer was complete.",
};
const number = new Intl.NumberFormat("en");

export function flag({ status, finish_reason: reason }) {
  return FLAGS[status] ?? REASONS[reason] ?? "";
}

const DOES = { thinking: "thinking", calling_tool: "calling a tool", searching: "searching" };

/** What an answer's producer does meanwhile: "calling a tool: weather…". */
export function does({ status, detail }) {
  return `${DOES[status] ?? status.replaceAll("_", " ")}${detail ? `: ${detail}` : ""}…`;
}

/** What all readers think of an answer, as its session's owner is told. */
export function opinions({ feedback: { up, down } = {} }) {
  return [up && `${up} liked it`, down && `${down} disliked it`].filter(Boolean).join(", ");
}

/** Why an answer that has ended is not whole, or null. `empty`: it shows nothing at all. */
export function shortfall(message, empty) {
  if (["streaming", "waiting"].includes(message.status) || message.error) return null;
  const told = SENTENCES[message.status] ?? SENTENCES[message.finish_reason];
  return told ?? (empty ? "The answer is empty." : null);
}

/** "gpt-x · 1,200 tokens in (1,000 cached), 340 out (200 for reasoning) · 2.1 s", of what is known. */
export function cost({ model, usage, tokens_used: total, latency_ms: latency }) {
  return [model, usage ? tokens(usage) : total ? `${number.format(total)} tokens` : null, latency >= 100 ? `${(latency / 1000).toFixed(1)} s` : null]
    .filter(Boolean)
    .join(" · ");
}

function tokens({ input_tokens, output_tokens, total_tokens, reasoning_tokens, cached_input_tokens }) {
  const some = (count, what) => (count ? ` (${number.format(count)} ${what})` : "");
  if (input_tokens === undefined || output_tokens === undefined) return total_tokens ? `${number.format(total_tokens)} tokens` : null;
  return (
    `${number.format(input_tokens)} tokens in${some(cached_input_tokens, "cached")}, ` +
    `${number.format(output_tokens)} out${some(reasoning_tokens, "for reasoning")}`
  );
}
