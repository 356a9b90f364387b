import type { Transport } from "../parley.js";
/** The raw WebSocket: a connection for each open session. Node before 22 needs a global `WebSocket`. */
export const websocket: Transport;
