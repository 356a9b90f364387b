import type { Transport } from "../parley.js";
/** Server-sent events, read with `fetch`, and REST. */
export const sse: Transport;
