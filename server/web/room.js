// One conversation as one person knows it: a snapshot that events carry on. Knows no transport and no DOM.
import { grow, kept } from "./parts.js";

export class Room extends EventTarget {
  constructor(sessionId, me) {
    super();
    this.sessionId = sessionId;
    this.me = me;
    this.session = null;
    this.messages = []; // by seq
    this.byId = new Map();
    this.lastRevision = 0;
    this.lastSeq = 0;
    this.older = false; // there is more before the first
    this.online = new Map();
    this.onlineCount = null;
    this.typing = new Set();
    this.marks = new Map();
    this.next = new Map(); // stream -> index of what comes next in it
  }

  /** A `join` reply or a `welcome`. With `resumed`, what we have stays and is brought up to date. */
  snapshot(reply, { resumed = false } = {}) {
    this.session = reply.session;
    this.lineage = reply.lineage;
    if (!resumed) {
      this.messages = [];
      this.byId.clear();
      this.older = reply.has_more;
    }
    this.next.clear();
    for (const message of reply.messages) this._put(message);
    for (const stream of reply.streams) {
      const message = this.byId.get(stream.message_id);
      if (message) {
        set(message, { content: stream.content, ...(stream.parts && { parts: stream.parts }) });
        this.next.set(stream.message_id, stream.next_index);
      }
    }
    this.lastSeq = resumed ? Math.max(this.lastSeq, reply.last_seq) : reply.last_seq;
    // Some of what changed may be on the next page.
    const shown = reply.messages.at(-1)?.revision ?? 0;
    this.lastRevision = resumed && reply.has_more ? Math.max(this.lastRevision, shown) : reply.last_revision;
    this.online = new Map(reply.online.map((user) => [user.user_id, user.status]));
    this.marks = new Map(Object.entries(reply.read_marks));
    this.typing.clear();
    this._tell("reset");
  }

  /** A page before the first message. */
  prepend(page) {
    for (const message of page.messages) this._put(message, true);
    this.older = page.has_more;
    this._tell("older");
  }

  /** Messages that changed, in the order of their revisions. */
  merge(page) {
    for (const message of page.messages) {
      this._put(message);
      this.lastRevision = Math.max(this.lastRevision, message.revision);
    }
    this._tell("reset");
  }

  apply(name, data) {
    if (data.revision) this.lastRevision = Math.max(this.lastRevision, data.revision);
    switch (name) {
      case "message":
      case "message_updated":
      case "message_deleted":
        this.typing.delete(name === "message" ? data.sender_id : "");
        this._change(data);
        break;
      case "stream_start":
        this.next.set(data.message_id, 0);
        this._change({
          message_type: "stream", status: "streaming", content: "", is_edited: false,
          created_at: data.timestamp, ...data,
        });
        break;
      case "stream_chunk":
      case "stream_delta":
      case "stream_part":
        this._grow(name, data);
        break;
      case "stream_end": {
        const message = this.byId.get(data.message_id);
        if (!message) break;
        this.next.delete(data.message_id);
        const { timestamp, session_id, ...fields } = data;
        delete message.passing;
        if (!kept(message.parts)) delete message.parts;
        this._change({ seq: message.seq, ...fields });
        break;
      }
      case "read":
        this.marks.set(data.user_id, Math.max(data.seq, this.marks.get(data.user_id) ?? 0));
        this._tell("marks");
        break;
      case "typing":
        if (data.is_typing) this.typing.add(data.user_id);
        else this.typing.delete(data.user_id);
        this._tell("typing");
        break;
      case "presence":
        if (data.online !== undefined) this.onlineCount = data.online;
        else if (data.status === "offline") this.online.delete(data.user_id);
        else this.online.set(data.user_id, data.status);
        if (data.status === "offline" && this.typing.delete(data.user_id)) this._tell("typing");
        this._tell("presence");
        break;
    }
  }

  get newest() {
    return this.messages.at(-1);
  }

  /** The answer that is being written, if one is: the newest. */
  get writing() {
    return [...this.next.keys()].map((id) => this.byId.get(id)).filter(Boolean).at(-1) ?? null;
  }

  nameOf({ sender_type, sender_id }) {
    const agent = this.session?.agent;
    return sender_type === "agent" && String(agent?.id) === sender_id ? agent.name : sender_id;
  }

  _grow(name, data) {
    const message = this.byId.get(data.message_id);
    const next = this.next.get(data.message_id);
    const after = data.index + (data.count ?? 1);
    if (!message || next === undefined || after <= next) return;
    if (data.index > next) {
      this._tell("hole", { message_id: data.message_id }); // the end, or a new snapshot, brings the text
      return;
    }
    if (data.part?.transient) message.passing = data.part;
    grow(message, name, data);
    this.next.set(data.message_id, after);
    this._tell("grown", { message });
  }

  _change(message) {
    const known = this.byId.get(message.message_id);
    if (known && known.revision > message.revision) return;
    this._put(message);
    this.lastSeq = Math.max(this.lastSeq, message.seq);
    this._tell(known ? "changed" : "added", { message: this.byId.get(message.message_id) });
  }

  _put(message, before = false) {
    const known = this.byId.get(message.message_id);
    if (known) {
      if (known.revision <= message.revision) set(known, message);
      return;
    }
    const own = { ...message };
    this.byId.set(own.message_id, own);
    const list = this.messages;
    if (!list.length || list.at(-1).seq < own.seq) list.push(own);
    else if (before && own.seq < list[0].seq) list.unshift(own);
    else list.splice(this.indexOf(own.seq), 0, own);
  }

  /** Where a message with this seq is, or would be. */
  indexOf(seq) {
    let low = 0;
    let high = this.messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.messages[middle].seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  _tell(kind, detail = {}) {
    this.dispatchEvent(Object.assign(new Event("change"), { kind, ...detail }));
  }
}

/** What comes with its content, and names no parts, has none. */
function set(known, message) {
  if ("content" in message && !message.parts) delete known.parts;
  Object.assign(known, message);
}
