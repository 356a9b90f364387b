// What a person's client reaches the server by, as `network` of `clients/js`: all of it is shown, and it can be cut as
// networks are. Knows no chat and no DOM.
import { ROOT } from "./api.js";

/** Milliseconds for which what was left half-open stays so. */
const ABANDONED = 60000;
const PACKETS = { open: 0, close: 1, ping: 2, pong: 3, message: 4, upgrade: 5, noop: 6 };

/** What goes wrong here looks as it does in a browser. */
const failed = (why) => new TypeError(why);

/** The path of an address, as the service knows it. */
function pathOf(url) {
  const { pathname, search } = new URL(url, location);
  return pathname.slice(ROOT.length) + search;
}

export class Network {
  /** `frame(direction, label, text)` sees everything; `io` is the official client's, where it is here. */
  constructor(frame, io) {
    this.frame = frame;
    this.held = false;
    this.lines = new Set(); // what is open: { cut(), abandon?(), restore?() }
    this.waiting = []; // what goes on when the network is back
    const network = this;
    this.WebSocket = function (url, protocols) {
      return new Socket(network, url, protocols);
    };
    this.io = io && ((url, options) => this._watched(io(url, options)));
  }

  /** Nothing comes through any more, and whoever tries waits. */
  cut() {
    this.held = true;
    for (const line of [...this.lines]) line.cut();
  }

  restore() {
    this.held = false;
    for (const go of this.waiting.splice(0)) go();
    for (const line of [...this.lines]) line.restore?.();
  }

  /** As a phone that left its network: the connection stays open and silent, the client makes a new one. */
  halfOpen() {
    return [...this.lines].filter((line) => line.abandon?.()).length > 0;
  }

  /** When the network is there. */
  async there(signal) {
    if (!this.held) return;
    await new Promise((resolve, reject) => {
      this.waiting.push(resolve);
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  }

  fetch = async (url, { signal, ...init } = {}) => {
    const path = pathOf(url);
    const events = /\/events(\?|$)/.test(path);
    const label = `${init.method ?? "GET"} ${path}`;
    await this.there(signal);
    const own = new AbortController();
    const line = { cut: () => own.abort(failed("the network is cut")) };
    this.lines.add(line);
    if (events) this.frame("out", "SSE", [label, ...after(init.headers)].join("  "));
    else this.frame("out", label, init.body instanceof FormData ? "multipart/form-data" : (init.body ?? ""));
    try {
      const response = await fetch(url, { ...init, signal: AbortSignal.any([own.signal, ...(signal ? [signal] : [])]) });
      if (events && response.ok) return this._stream(response, line, own);
      const text = await response.text();
      this.frame("in", events ? "SSE" : `${response.status} ${label}`, events ? `${response.status} ${text}` : text);
      return { ok: response.ok, status: response.status, text: async () => text };
    } finally {
      if (!line.abandon) this.lines.delete(line);
    }
  };

  /** The bytes go on as they come; blocks are shown. */
  _stream(response, line, own) {
    const decoder = new TextDecoder();
    let rest = "";
    let end;
    const shown = new TransformStream({
      start: (to) => (end = to),
      transform: (bytes, to) => {
        const blocks = (rest + decoder.decode(bytes, { stream: true })).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) this.frame("in", "SSE", block);
        to.enqueue(bytes);
      },
    });
    line.abandon = () => {
      this.abandoned?.abort(); // one at a time: a browser has six connections to a host
      this.abandoned = own;
      setTimeout(() => own.abort(), ABANDONED);
      end.error(failed("half-open"));
      return true;
    };
    // What was abandoned is left as it is: open, and not read.
    response.body.pipeTo(shown.writable, { preventCancel: true }).catch(() => {}).finally(() => this.lines.delete(line));
    return { ok: true, status: response.status, body: shown.readable };
  }

  /** Socket.IO: its packets, as they are on the wire: Engine.IO's digit, then its data. */
  _watched(socket) {
    const manager = socket.io;
    let watched = null;
    const watch = () => {
      const { engine } = manager;
      if (!engine || engine === watched) return;
      watched = engine;
      const show = (direction) => (packet) => this.frame(direction, `Socket.IO ${engine.transport?.name ?? "polling"}`, PACKETS[packet.type] + (packet.data ?? ""));
      engine.on("packet", show("in"));
      engine.on("packetCreate", show("out"));
    };
    watch();
    manager.on("open", watch);
    this.lines.add({
      cut() {
        manager.reconnection(false);
        manager.engine.close();
      },
      restore() {
        manager.reconnection(true);
        socket.connect();
      },
      abandon() {
        const { transport } = manager.engine;
        if (transport?.name !== "websocket" || !transport.ws) return false;
        const old = transport.ws;
        old.onopen = old.onmessage = old.onclose = old.onerror = null;
        setTimeout(() => old.close(), ABANDONED);
        transport.ws = undefined; // what is closed now has nothing to tell the server
        manager.engine.close();
        return true;
      },
    });
    return socket;
  }
}

/** Where an event stream goes on. */
function after(headers) {
  const last = headers?.["Last-Event-ID"];
  return last ? [`Last-Event-ID: ${last}`] : [];
}

/** A WebSocket, as far as `clients/js` uses one. It opens when the network is there. */
class Socket {
  constructor(network, url, protocols) {
    this.network = network;
    network.lines.add(this);
    network.there().then(() => !this.over && this._open(url, protocols));
  }

  get readyState() {
    return this.over ? 3 : (this.socket?.readyState ?? 0);
  }

  _open(url, protocols) {
    const socket = (this.socket = new WebSocket(url, protocols));
    this.network.frame("out", "WebSocket", `GET ${pathOf(url)}`);
    socket.onmessage = (event) => {
      this.network.frame("in", "WebSocket", event.data);
      this.onmessage?.(event);
    };
    socket.onclose = (event) => {
      this.network.frame("in", "WebSocket", `close ${event.code} ${event.reason}`);
      this._end();
    };
  }

  send(text) {
    this.network.frame("out", "WebSocket", text);
    this.socket.send(text);
  }

  close() {
    if (this.socket) this.socket.close();
    else this._end();
  }

  cut() {
    this.close();
  }

  abandon() {
    const { socket } = this;
    if (socket?.readyState !== 1) return false;
    socket.onmessage = socket.onclose = null;
    setTimeout(() => socket.close(), ABANDONED);
    this._end();
    return true;
  }

  _end() {
    if (this.over) return;
    this.over = true;
    this.network.lines.delete(this);
    this.onclose?.();
  }
}
