// The raw WebSocket: a connection for each session, which goes on from its last position.
import { asError, unwrap } from "../errors.js";
import { lines } from "./lines.js";

/** Milliseconds in which a command is answered; one that is not says that the connection is dead. */
const ANSWERED = 12000;
/** In which one opens, or is tried anew. */
const OPENED = 8000;

export function websocket(rest, on) {
  return lines(rest, on, (session) => new Line(rest, session));
}

class Line {
  #waiting = new Map(); // ref -> { resolve, timer }
  #refs = 0;
  #socket;

  constructor(rest, session) {
    [this.rest, this.session] = [rest, session];
  }

  /** Until it is over: why it ended. `from`: where the last one was. */
  run({ position, token, query, heard }) {
    const path = `/ws/${encodeURIComponent(this.session.id)}${query({ after: position })}`;
    const socket = new this.rest.network.WebSocket(this.rest.base.replace(/^http/, "ws") + path, ["bearer", token]);
    this.#socket = socket;
    let told = null;
    setTimeout(() => socket.readyState === 0 && socket === this.#socket && this.end(), OPENED);
    return new Promise((resolve) => {
      socket.onerror = () => {}; // its end tells more
      socket.onmessage = ({ data }) => {
        const { type, position: at, ...event } = JSON.parse(data);
        if (type === "ack") this.#answered(event);
        else if (type === "error" && !event.command) told = asError(event);
        else heard(type, event, at ?? event.position);
      };
      socket.onclose = () => {
        for (const ref of [...this.#waiting.keys()]) this.#answered({ ref });
        resolve(told);
      };
    });
  }

  call(name, payload) {
    if (this.#socket?.readyState !== 1) return Promise.reject(asError());
    const ref = ++this.#refs;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.end(), ANSWERED);
      this.#waiting.set(ref, { resolve, timer });
      this.#socket.send(JSON.stringify({ type: name, ref, ...payload }));
    }).then(unwrap);
  }

  #answered({ ref, ...reply }) {
    const { resolve, timer } = this.#waiting.get(ref) ?? {};
    this.#waiting.delete(ref);
    clearTimeout(timer);
    resolve?.(reply);
  }

  end() {
    const socket = this.#socket;
    if (!socket) return;
    socket.close();
    socket.onclose?.(); // a dead one says so late
    socket.onmessage = socket.onclose = null;
  }
}
