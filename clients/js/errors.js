// Every failure in one shape: what the server answered, and what the network did.

export class ParleyError extends Error {
  /** `code` and `retryable` are always there; `retry_after` (milliseconds), `details` and `next_index` where the server said them. */
  constructor({ code, message, retryable, ...more }) {
    super(message ?? code);
    Object.assign(this, more, { name: "ParleyError", code, retryable: Boolean(retryable) });
  }
}

/** Anything that was thrown or answered, as a `ParleyError`. What is not the server's own passes by itself. */
export function asError(thing) {
  if (thing instanceof ParleyError) return thing;
  if (thing?.retryable != null) return new ParleyError(thing);
  return new ParleyError({ code: "UNAVAILABLE", message: String(thing?.message ?? thing ?? "No answer"), retryable: true });
}

/** What comes of everything after `close`. */
export const closed = () => new ParleyError({ code: "CLOSED" });

/** A reply that is `ok`, or its error. */
export function unwrap(reply) {
  if (!reply?.ok) throw asError(reply?.error);
  return reply;
}
