// An agent's worker under a story's control, with the official client.
import { createRequire } from "node:module";

const require = createRequire(new URL("../js/package.json", import.meta.url));
const { io } = require("socket.io-client");

export class Worker {
  /** Resolves once it is there. It acks each request and keeps it. */
  static async come(url, token) {
    const worker = new Worker();
    worker.socket = io(url, { auth: { token }, transports: ["websocket"], reconnection: false });
    worker.requests = new Arrivals();
    worker.cancelled = new Arrivals();
    worker.socket.on("agent_request", (request, ack) => (worker.requests.put(request), ack?.()));
    worker.socket.on("stream_cancel", ({ message_id }) => worker.cancelled.put(message_id));
    await new Promise((done, failed) => worker.socket.once("connect", done).once("connect_error", failed));
    return worker;
  }

  async call(name, payload) {
    const reply = await this.socket.timeout(10000).emitWithAck(name, payload);
    if (!reply.ok) throw Object.assign(new Error(`${name}: ${JSON.stringify(reply.error)}`), reply.error);
    return reply;
  }

  /** Begins the next answer: { where, index } for what is written in it. */
  async begin() {
    const request = await this.requests.next();
    const { session_id, message } = request;
    const { message_id, next_index } = await this.call("stream_start", { session_id, reply_to: message.message_id });
    return { request, where: { session_id, message_id }, index: next_index };
  }

  write(answer, content) {
    return this.call("stream_chunk", { ...answer.where, index: answer.index++, content });
  }

  part(answer, part) {
    return this.call("stream_part", { ...answer.where, index: answer.index++, part });
  }

  /** The answer waits for people. */
  wait(answer, ...interrupts) {
    return this.call("stream_wait", { ...answer.where, interrupts });
  }

  /** Goes on with an answer that has waited: as `begin`, with what was answered in `request.resume`. */
  async resume() {
    const request = await this.requests.next();
    const { session_id, fence, resume } = request;
    const where = { session_id, message_id: resume.message_id };
    await this.call("stream_start", { ...where, fence });
    return { request, where, index: resume.next_index };
  }

  end(answer) {
    return this.call("stream_end", answer.where);
  }

  /** A whole answer to the next question. */
  async answer(content) {
    const answer = await this.begin();
    await this.write(answer, content);
    await this.end(answer);
    return answer;
  }

  close() {
    this.socket.disconnect();
  }
}

/** What came and was not asked for yet. */
class Arrivals {
  constructor() {
    this.kept = [];
    this.asking = [];
  }

  put(each) {
    if (this.asking.length) this.asking.shift()(each);
    else this.kept.push(each);
  }

  next() {
    return this.kept.length ? Promise.resolve(this.kept.shift()) : new Promise((found) => this.asking.push(found));
  }
}
