// What a frame says, whichever way it came. Knows no DOM.

const PACKETS = { 40: "connect", 41: "disconnect", 43: "ack", 44: "connect_error", 0: "open", 1: "close", 2: "ping", 3: "pong", 5: "upgrade", 6: "noop" };

/** The event or command in a frame, as a human would name it. */
export function nameOf(label, text) {
  if (label.startsWith("Socket.IO")) {
    const event = /^42\d*\["([^"]+)"/.exec(text);
    if (event) return event[1];
    const known = Object.keys(PACKETS).find((start) => text.startsWith(start));
    return PACKETS[known] ?? text.slice(0, 24);
  }
  if (label === "WebSocket") return /"type":"([^"]+)"/.exec(text)?.[1] ?? text.split(" ")[0];
  if (label === "SSE") return /^event: (.+)$/m.exec(text)?.[1] ?? text.split(/[ :\n]/)[0];
  return label.replace(/\/api\/chat\//, "").replace(/(sess|msg|file)_\w{6,}/g, "…").replace(/\?.*/, "");
}

/** What comes with the event in a frame. */
export function dataOf(label, text) {
  if (label === "SSE") return JSON.parse(/^data: (.+)$/m.exec(text)[1]);
  const said = JSON.parse(text.slice(text.search(/[[{]/)));
  return label === "WebSocket" ? said : said[1];
}

/** Whether it tells of something that happened, and is no answer, greeting or sign of life. */
export function isEvent(label, text) {
  if (label === "SSE") return /^event: (?!welcome)/m.test(text);
  if (label === "WebSocket") return text.startsWith("{") && !/^(ack|welcome)$/.test(nameOf(label, text));
  return label.startsWith("Socket.IO") && text.startsWith("42");
}

export function isPing(label, text) {
  return label.startsWith("Socket.IO") ? /^[236](probe)?$/.test(text) : text.startsWith(": still here");
}
