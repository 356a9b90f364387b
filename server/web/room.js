// One conversation as one person knows it: a snapshot that events carry on. Knows no transport and no DOM.
import { grow, kept } from "./parts.js";
import { Turns } from "./turns.js";

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
    this.users = new Map(); // key -> { name, avatar_url }
    this.next = new Map(); // stream -> index of what comes next in it
    this.turns = new Turns();
    this.stale = false; // what is shown is not the path to the head any more
    this.branched = false;
  }

  /** A `join` reply or a `welcome`. With `resumed`, what we have stays and is brought up to date. */
  snapshot(reply, { resumed = false } = {}) {
    this.session = reply.session;
    this.lineage = reply.lineage;
    this._learn(reply.users);
    if (!resumed) {
      this.messages = [];
      this.byId.clear();
      this.older = reply.has_more;
    }
    this.next.clear();
    this.turns.snapshot(reply.turns, reply.unanswered);
    for (const message of reply.messages) this._put(message);
    this.stale = resumed && (this.stale || "head_id" in reply); // changes of all branches came
    for (const stream of reply.streams) {
      const message = this.byId.get(stream.message_id);
      if (message) {
        set(message, { content: stream.content, ...(stream.parts && { parts: stream.parts }) });
        message.doing = stream.agent_status;
        this.next.set(stream.message_id, stream.next_index);
      }
    }
    this.branched = "head_id" in reply;
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
    this._learn(page.users);
    this.turns.ended(page.unanswered);
    for (const message of page.messages) this._put(message, true);
    this.older = page.has_more;
    this._tell("older");
  }

  /** The newest page of the path to the head, where the session has branches. What else is known stays known. */
  path(page) {
    this._learn(page.users);
    this.turns.ended(page.unanswered);
    this.branched = true;
    this.messages = page.messages.map((message) => {
      const known = this.byId.get(message.message_id);
      if (known && !this.next.has(message.message_id) && known.revision <= message.revision) set(known, message);
      const { parent_id, siblings } = message;
      if (known) return Object.assign(known, { parent_id, siblings });
      this.byId.set(message.message_id, message);
      return message;
    });
    this.older = page.has_more;
    this._tell("reset");
  }

  /** Messages that changed, in the order of their revisions. */
  merge(page) {
    this._learn(page.users);
    for (const message of page.messages) {
      this._put(message);
      this.lastRevision = Math.max(this.lastRevision, message.revision);
    }
    this.turns.snapshot(page.turns, page.unanswered);
    this._tell("reset");
  }

  apply(name, data) {
    if (data.revision) this.lastRevision = Math.max(this.lastRevision, data.revision);
    if (data.user) this._learn({ [keyOf(data)]: data.user });
    switch (name) {
      case "message":
      case "message_updated":
      case "message_deleted":
        this.typing.delete(name === "message" ? data.sender_id : "");
        this._asked(name, data);
        if (name === "message_deleted" && this._isVersion(data.message_id)) this.stale = true;
        this._change(data);
        if (this.session?.agent) this._tell("turns");
        break;
      case "turn":
        this.turns.told({ seq: this.byId.get(data.message_id)?.seq, ...data });
        this._tell("turns");
        break;
      case "stream_start":
        this.next.set(data.message_id, 0);
        if ("parent_id" in data) this.stale = true; // who its siblings are
        if (data.reply_to) this.turns.begun(data.reply_to, data.message_id);
        this._change({
          message_type: "stream", status: "streaming", content: "", is_edited: false,
          created_at: data.timestamp, ...data,
        });
        this._tell("turns");
        break;
      case "stream_chunk":
      case "stream_delta":
      case "stream_part":
        this._grow(name, data);
        break;
      case "agent_status":
        this._does(data);
        break;
      case "stream_end": {
        const message = this.byId.get(data.message_id);
        if (!message) break;
        this.next.delete(data.message_id);
        this.turns.answered(data.message_id, data.status);
        const { timestamp, session_id, ...fields } = data;
        delete message.passing;
        delete message.doing;
        if (!kept(message.parts)) delete message.parts;
        this._change({ seq: message.seq, ...fields });
        this._tell("turns");
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
      case "session":
        this._session(data);
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

  /** What a stop would stop: an answer, or a question that has none yet. Its id, or null. */
  get stoppable() {
    return (this.writing ?? this.turns.current)?.message_id ?? null;
  }

  /** Whether a message that we took for a question is one, by the server's list of those that are open. */
  settle(messageId, turns) {
    if (this.turns.open.get(messageId)?.state !== "asked") return;
    const turn = turns.find(({ message_id }) => message_id === messageId);
    if (turn) this.turns.told(turn);
    else this.turns.done(messageId);
    this._tell("turns");
  }

  /** What one thinks of a message, which no event tells; the sums are the owner's. */
  thought(messageId, { value, comment }) {
    const message = this.byId.get(messageId);
    if (!message) return;
    const { up, down, value: before } = message.feedback ?? {};
    const sums = this.session?.role === "owner" ? { up: up ?? 0, down: down ?? 0 } : {};
    if (before in sums) sums[before] -= 1;
    if (value in sums) sums[value] += 1;
    message.feedback = { ...sums, ...(value && { value }), ...(comment && { comment }) };
    this._tell("thought", { message });
  }

  /** The answer that counts, where another was given before ours. */
  answered(messageId, interruptId, answer) {
    const message = this.byId.get(messageId);
    if (!message?.interrupts) return;
    message.interrupts = message.interrupts.map((each) => (each.id === interruptId ? { ...each, answer } : each));
    this._tell("thought", { message });
  }

  /** Who sent a message: { id, name, picture }. */
  senderOf(message) {
    const agent = this.session?.agent;
    const { sender_type, sender_id } = message;
    if (sender_type === "agent" && String(agent?.id) === sender_id) return { id: sender_id, name: agent.name, picture: agent.avatar_url };
    return { ...this.who(keyOf(message)), id: sender_id };
  }

  nameOf(message) {
    return this.senderOf(message).name;
  }

  /** What a user is called: { id, name, picture }. */
  who(id) {
    const { name, avatar_url: picture } = this.users.get(id) ?? {};
    return { id, name: name || id, picture };
  }

  _learn(users = {}) {
    for (const [id, user] of Object.entries(users)) this.users.set(id, user);
  }

  /** Whether one can write here: not where the session has ended, or one's own part in it has. */
  get closed() {
    return (this.session?.status ?? "active") !== "active";
  }

  /** Of what changes about the session itself, what is shown. */
  _session({ event, title }) {
    if (!this.session) return;
    if (event === "head") this.stale = true;
    else if (event === "updated" && title !== undefined) this.session.title = title;
    else if (["archived", "expired", "removed"].includes(event)) this.session.status = event;
    else return;
    this._tell("session");
  }

  /** What a person says to an agent is a question, until we hear otherwise. */
  _asked(name, message) {
    if (name === "message_deleted") this.turns.done(message.message_id);
    else if (name === "message" && this.session?.agent && message.sender_type === "user" && !this.byId.has(message.message_id)) this.turns.asked(message);
  }

  /** What the producer of an answer does while it writes nothing. */
  _does({ message_id, status, detail }) {
    const message = this.byId.get(message_id);
    if (message?.status !== "streaming") return;
    message.doing = status ? { status, detail } : undefined;
    this._tell("grown", { message });
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

  /** Whether it is one of several, of which another may be shown. */
  _isVersion(id) {
    return this.messages.some(({ siblings }) => siblings?.includes(id));
  }

  _change(message) {
    const known = this.byId.get(message.message_id);
    if (known && known.revision > message.revision) return;
    if (!known && this.branched && message.seq <= this.lastSeq) {
      this.stale = true; // on a branch that was never shown here, or told late
      return;
    }
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
    // On another branch, or the first of a new one.
    if (!before && "parent_id" in own && list.length && list.at(-1).seq < own.seq && own.parent_id !== list.at(-1).message_id) {
      this.stale = true;
      return;
    }
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

/** How users are named: a sender, or whom an event is about. */
function keyOf({ sender_type, sender_id, user_id }) {
  if (sender_id === undefined) return user_id;
  if (sender_type === "user") return /^(user|agent|service):/.test(sender_id) ? `user:${sender_id}` : sender_id;
  return sender_type === "agent" ? `agent:${sender_id}` : sender_id;
}

/** What comes with its content, and names no parts, has none. */
function set(known, message) {
  if ("content" in message && !message.parts) delete known.parts;
  Object.assign(known, message);
}
