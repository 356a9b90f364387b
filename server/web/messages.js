// The list of a conversation: a window of it is in the page, however long the conversation is.
import { buttons, versions } from "./acts.js";
import { Body } from "./body.js";
import { ICONS, avatar, bytes, h, icon, time } from "./dom.js";
import { flag, opinions } from "./endings.js";

const WINDOW = 120;
const STEP = 40;
const NEAR = 300; // pixels
/** A growing answer is drawn once a frame, and rests this many times as long as drawing took: a long one costs a fifth. */
const REST = 4;
/** Of the message that somebody looked for. */
const FOUND = "found-here";
/** Characters of an answer that are read out: who wants the rest goes there. */
const READ_OUT = 1000;

/** A signed address as a page of this server may show it, by whatever name the page was opened. */
function here(url) {
  const { pathname, search } = new URL(url, location);
  return pathname + search;
}

/** `actions`: edit, stop, again, select, remove, answer, feedback, comment, older, seen, address. */
export class MessageList {
  constructor(actions) {
    this.actions = actions;
    this.room = null;
    this.first = 0; // index of the first message in the page
    this.items = new Map(); // message id -> its element
    this.bodies = new WeakMap(); // element -> what the message says
    this.drawn = new WeakMap(); // element -> the message as it is shown, and what is known of it
    this.growing = new Set(); // ids of messages that have grown since they were drawn
    this.pinned = true; // stays at the newest
    this.loading = false;
    this.means = {
      file: (file) => this._file(file),
      answer: (...given) => actions.answer(...given),
      mayAnswer: () => ["owner", "member"].includes(this.room?.session?.role) && !this.room.closed,
      nameOf: (user) => this.room.who(user).name,
    };
    this.empty = h("li.empty", {}, "Nothing here yet. Say something.");
    this.list = h("ol.messages", { "aria-label": "Messages", tabindex: "0" });
    this.jump = h("button.button.jump", { type: "button", hidden: true, onclick: () => this.toEnd() }, icon(ICONS.newest), " Newest");
    this.element = h("div.scroll", {}, this.list, this.jump);
    this.list.addEventListener("scroll", () => this._scrolled(), { passive: true });
    new ResizeObserver(() => this.pinned && this._bottom()).observe(this.list);
  }

  show(room) {
    this.room = room;
    this.items = new Map();
    this.top = null; // the first message of the window
    this.pinned = true;
    this.list.replaceChildren();
    this.update();
  }

  /** The window as the room is now. What did not change is not touched. */
  update() {
    if (!this.room?.session) return this.list.replaceChildren();
    const all = this.room.messages;
    if (this.pinned) this.first = all.length - WINDOW;
    else if (this.top) this.first = this.room.indexOf(this.top.seq);
    this.first = Math.max(0, Math.min(this.first, all.length - 1));
    this.top = all[this.first];
    const shown = all.slice(this.first, this.first + WINDOW);
    const old = this.items;
    this.items = new Map(shown.map(({ message_id: id }) => [id, old.get(id) ?? this._item()]));
    let changed = false;
    for (const message of shown) changed = this._draw(this.items.get(message.message_id), message) || changed;
    changed = this._place(shown.length ? [...this.items.values()] : [this.empty]) || changed;
    if (changed || this.seen !== this.room.now.readMarks) this.marks();
    this._jump();
  }

  /** `elements`, and nothing else. Those that stay are not moved: who is in one stays there. Whether anything changed. */
  _place(elements) {
    const { list } = this;
    const wanted = new Set(elements);
    const gone = [...list.children].filter((each) => !wanted.has(each));
    for (const each of gone) each.remove();
    let changed = gone.length > 0;
    elements.forEach((element, at) => {
      if (list.children[at] === element) return;
      list.insertBefore(element, list.children[at] ?? null);
      changed = true;
    });
    return changed;
  }

  /** One message, if it or what is known of it changed: whether it did. What only grows is drawn later. */
  _draw(element, message) {
    const drawn = this.drawn.get(element);
    const mark = this._mark(message);
    if (drawn?.message === message && drawn.mark === mark) return false;
    this.drawn.set(element, { message, mark });
    if (drawn?.message.status === "streaming" && message.status === "streaming" && drawn.mark === mark) {
      this._grown(message);
      return false;
    }
    this._fill(element, message);
    return true;
  }

  /** A stream has grown: it is drawn with the next frame, with all that came until then. */
  _grown({ message_id }) {
    this.growing.add(message_id);
    if (this.waiting) return;
    this.waiting = true;
    const draw = () => requestAnimationFrame(() => this._drawGrown());
    const rest = (this.restsUntil ?? 0) - performance.now();
    if (rest > 0) setTimeout(draw, rest);
    else draw();
  }

  _drawGrown() {
    const began = performance.now();
    this.waiting = false;
    for (const id of this.growing) {
      const element = this.items.get(id);
      const message = element && this.drawn.get(element).message;
      if (message?.status === "streaming") this.bodies.get(element).update(message);
    }
    this.growing.clear();
    if (this.pinned) this._bottom();
    const now = performance.now();
    this.restsUntil = now + REST * (now - began);
  }

  /** What a reader of the screen is told of a message. */
  words(message) {
    const texts = this.items.get(message.message_id)?.querySelectorAll(".body > .text, .body > .problem, .body > .ending, .ask > p") ?? [];
    return [...texts].map(({ textContent }) => textContent).join(" ").slice(0, READ_OUT);
  }

  /** Who has read up to where. */
  marks() {
    for (const old of this.list.querySelectorAll(".seen")) old.remove();
    this.seen = this.room.now.readMarks;
    const at = new Map();
    for (const [user, seq] of Object.entries(this.seen)) {
      if (user === this.room.me) continue;
      const index = this.room.indexOf(seq + 1) - 1;
      const message = this.room.messages[index];
      if (message) at.set(message.message_id, [...(at.get(message.message_id) ?? []), user]);
    }
    for (const [id, users] of at) {
      this.items.get(id)?.append(h("p.seen", {}, "Seen by ", users.map((user) => this.room.who(user).name).join(", ")));
    }
    if (this.pinned) this._bottom();
  }

  async goTo(seq) {
    const { room } = this;
    while (room.now.hasOlder && seq < (room.messages[0]?.seq ?? 0)) {
      if ((await this.actions.older()) === null || this.room !== room) break;
    }
    if (this.room !== room) return;
    const index = this.room.indexOf(seq);
    this.pinned = false;
    this.top = this.room.messages[Math.max(0, index - WINDOW / 2)];
    this.update();
    const element = this.items.get(this.room.messages[index]?.message_id);
    element?.scrollIntoView({ block: "center" });
    element?.classList.add(FOUND);
    setTimeout(() => element?.classList.remove(FOUND), 2500);
  }

  toEnd() {
    this.pinned = true;
    this.update();
    this.list.focus({ preventScroll: true });
  }

  _bottom() {
    this.list.scrollTop = this.list.scrollHeight;
  }

  _jump() {
    this.jump.hidden = this.pinned;
  }

  async _scrolled() {
    const { list } = this;
    const below = list.scrollHeight - list.scrollTop - list.clientHeight;
    const whole = this.first + WINDOW >= this.room.messages.length;
    this.pinned = below < 30 && whole;
    this._jump();
    if (this.pinned) this.actions.seen();
    if (below < NEAR && !whole) this._shift(STEP);
    else if (list.scrollTop < NEAR) {
      if (this.first > 0) this._shift(-STEP);
      else if (this.room.now.hasOlder && !this.loading) {
        this.loading = true;
        const room = this.room;
        await this.actions.older(); // the window stays where it was
        this.loading = false;
        if (this.room === room && this.first > 0) this._shift(-STEP);
      }
    }
  }

  /** Move the window, with what is being looked at staying where it is. */
  _shift(by) {
    const top = this.list.getBoundingClientRect().top;
    const anchor = [...this.items.values()].find((each) => each.getBoundingClientRect().bottom > top);
    const was = anchor?.getBoundingClientRect().top;
    const most = Math.max(0, this.room.messages.length - WINDOW);
    this.first = Math.max(0, Math.min(most, this.first + by));
    this.top = this.room.messages[this.first];
    this.pinned = false;
    this.update();
    if (anchor?.isConnected) this.list.scrollTop += anchor.getBoundingClientRect().top - was;
  }

  _item() {
    const item = h("li.message");
    const body = new Body(this.means);
    this.bodies.set(item, body);
    item.append(h("span.avatar"), h("div.bubble", {}, h("p.meta"), body.element));
    return item;
  }

  /** The element as the message is now. What the reader has opened in it stays open. */
  _fill(item, message) {
    this._dress(item, message);
    this.bodies.get(item).update(message);
    return item;
  }

  /** What is around the body: whose it is, how far it is, what can be done with it. */
  _dress(item, message) {
    const { room } = this;
    const own = room.isOwn(message);
    const name = room.nameOf(message);
    const waits = room.before(message.message_id) !== null;
    const kind = [own && "own", message.sender_type, message.deleted_at && "deleted", message.status === "streaming" && "streaming", waits && "waits", item.classList.contains(FOUND) && FOUND];
    item.className = ["message", ...kind.filter(Boolean)].join(" ");
    Object.assign(item.dataset, { id: message.message_id, seq: message.seq });
    item.querySelector(".avatar").replaceWith(avatar(room.senderOf(message), message.sender_type));
    this._headline(item, this._head(message, name));
    this._act(item, buttons(message, room, this.actions));
  }

  /** Who leafs through versions goes on doing so. */
  _headline(item, made) {
    const old = item.querySelector(".meta");
    const at = old.contains(document.activeElement) && document.activeElement.title;
    old.replaceWith(made);
    if (at) this._leaf(item, at);
  }

  /** The key of this title, or the other one where there is no further version. */
  _leaf(item, title) {
    const leaves = [...item.querySelectorAll(".versions button:enabled")];
    (leaves.find((each) => each.title === title) ?? leaves[0])?.focus();
  }

  /** Who was at one of the buttons is at the same one then, or at the first. */
  _act(item, made) {
    const old = item.querySelector(".actions");
    const at = old?.contains(document.activeElement) && document.activeElement.title;
    old?.remove();
    if (made.length) item.append(h("div.actions", {}, made));
    if (at) (made.find(({ title }) => title === at) ?? made[0] ?? this.list).focus();
  }

  _head(message, name) {
    const flags = [message.is_edited && !message.deleted_at ? "edited" : "", flag(message), this.room.mark(message.message_id), opinions(message)];
    return h(
      "p.meta",
      {},
      h("strong", {}, name),
      h("time", { datetime: message.created_at }, time(message.created_at)),
      flags.filter(Boolean).map((each) => h("em", {}, each)),
      versions(message, (to, title) => this._select(to, title)),
    );
  }

  /** What is known of a message beside itself. */
  _mark({ message_id }) {
    return `${this.room.turnOf(message_id)?.state} ${this.room.mark(message_id)}`;
  }

  /** Another version of a message; who leafs through them goes on with the next key. */
  async _select(id, title) {
    await this.actions.select(id);
    const item = this.items.get(id);
    if (!item) return;
    item.scrollIntoView({ block: "nearest" });
    this._leaf(item, title);
  }

  _file(file) {
    const { name, size, type } = file.file_info;
    const picture = type.startsWith("image/") ? h("img", { alt: name, loading: "lazy" }) : icon(ICONS.file);
    // A picture of a kind that this browser cannot show is a file like others.
    picture.addEventListener("error", () => picture.replaceWith(icon(ICONS.file)));
    const link = h("a.file", { target: "_blank", rel: "noopener" }, picture, h("span", {}, name, size === undefined ? null : h("small", {}, bytes(size))));
    this._address(file.file_id, (signed) => {
      link.href = here(signed.url);
      if (picture.tagName === "IMG") picture.src = here(signed.thumbnail_url ?? signed.url);
      return link;
    }).catch(() => link.classList.add("missing"));
    return link;
  }

  /** Shows a file's signed addresses, and new ones before they end, for as long as `show`'s element is in the page. */
  async _address(id, show) {
    const signed = await this.actions.address(id);
    const element = show(signed);
    const wait = Math.max(5000, Date.parse(signed.expires_at) - 10000 - Date.now());
    setTimeout(() => element.isConnected && this._address(id, show).catch(() => {}), wait);
  }
}
