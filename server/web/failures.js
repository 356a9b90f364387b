// What went wrong, in words. Knows no DOM.
import { bytes } from "./dom.js";

const WORDS = {
  "Failed to fetch": "the server cannot be reached", "network error": "the connection broke",
  SESSION_NOT_FOUND: "there is no such session", SESSION_ARCHIVED: "the session is archived", SESSION_EXPIRED: "the session has ended",
};

/** Why a connection is not there; null where nothing is known. */
export function lost(error) {
  return error && (WORDS[error.code] ?? WORDS[error.message] ?? told(error));
}

/** A failure in words: sizes as people say them. */
export function told({ message, code }) {
  return (message || code || "it did not work").replace(/(\d{4,}) bytes/, (_, count) => bytes(Number(count)));
}
