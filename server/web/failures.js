// What went wrong, in words. Knows no DOM.
import { bytes } from "./dom.js";

/** Why a connection is not there, where a client's library says it in its own words. */
export const LOST = {
  "xhr poll error": "the server cannot be reached", "websocket error": "the server cannot be reached", timeout: "the server does not answer",
  "transport close": "the connection broke", "transport error": "the connection broke", "ping timeout": "the server went silent",
  "io server disconnect": "the server closed the connection", "Failed to fetch": "the server cannot be reached",
  "network error": "the connection broke", 1006: "the connection broke", 1001: "the server is going away", ended: "the server closed the connection",
  SESSION_NOT_FOUND: "there is no such session", SESSION_ARCHIVED: "the session is archived", SESSION_EXPIRED: "the session has ended",
};

/** A failure in words: sizes as people say them. */
export function told({ message, code }) {
  return (message || code || "it did not work").replace(/(\d{4,}) bytes/, (_, count) => bytes(Number(count)));
}
