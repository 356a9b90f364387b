// The list of a conversation: a window of it is in the page, however long the conversation is.
import { ICONS, avatar, bytes, h, icon, time } from "./dom.js";

const WINDOW = 120;
const STEP = 40;
const NEAR = 300; // pixels

/** A signed address as a page of this server may show it, by whatever name the page was opened. */
function here(url) {
  const { pathname, search } = new URL(url, location);
  return pathname + search;
}

/** `actions`: edit, remove, stop, older, seen, address. */
export class MessageList {
  constructor(actions) {
    this.actions = actions;
    this.room = null;
    this.first = 0; // index of the first message in the page
    this.items = new Map(); // message id -> its element
    this.pinned = true; // stays at the newest
    this.addresses = new Map(); // file id -> its signed addresses, and until when they are shown
    this.loading = false;
    this.list = h("ol.messages", { "aria-label": "Messages", tabindex: "0" });
    this.jump = h("button.button.jump", { type: "button", hidden: true, onclick: () => this.toEnd() }, icon(ICONS.down), " Newest");
    this.element = h("div.scroll", {}, this.list, this.jump);
    this.list.addEventListener("scroll", () => this._scrolled(), { passive: true });
    new ResizeObserver(() => this.pinned && this._bottom()).observe(this.list);
  }

  show(room) {
    this.room = room;
    this.pinned = true;
    this.render();
  }

  /** All of the window anew. */
  render() {
    if (!this.room) return this.list.replaceChildren();
    const all = this.room.messages;
    if (this.pinned) this.first = Math.max(0, all.length - WINDOW);
    this.first = Math.min(this.first, Math.max(0, all.length - 1));
    const shown = all.slice(this.first, this.first + WINDOW);
    const old = this.items;
    this.items = new Map();
    const elements = shown.map((message) => {
      const key = keyOf(message);
      const known = old.get(message.message_id);
      const element = known?.dataset.key === key ? known : this._item(message, key);
      this.items.set(message.message_id, element);
      return element;
    });
    if (!all.length) elements.push(h("li.empty", {}, "Nothing here yet. Say something."));
    this.list.replaceChildren(...elements);
    this.marks();
    if (this.pinned) this._bottom();
    this._jump();
  }

  added(message) {
    const all = this.room.messages;
    if (all.at(-1) !== message || (!this.pinned && this.first + WINDOW < all.length)) return this._jump();
    this.list.querySelector(".empty")?.remove();
    const element = this._item(message, keyOf(message));
    this.items.set(message.message_id, element);
    this.list.append(element);
    if (this.pinned) {
      while (this.list.childElementCount > WINDOW) this._dropFirst();
      this._bottom();
    }
    this.marks();
    this._jump();
  }

  changed(message) {
    const old = this.items.get(message.message_id);
    if (!old) return;
    const element = this._item(message, keyOf(message));
    this.items.set(message.message_id, element);
    const focused = old.contains(document.activeElement);
    old.replaceWith(element);
    if (focused) element.querySelector("button")?.focus();
    this.marks();
    if (this.pinned) this._bottom();
  }

  /** A stream has grown: only its text is touched. */
  text(message) {
    const element = this.items.get(message.message_id);
    if (!element) return;
    element.querySelector(".text").textContent = message.content;
    if (this.pinned) this._bottom();
  }

  /** Who has read up to where. */
  marks() {
    for (const old of this.list.querySelectorAll(".seen")) old.remove();
    if (!this.room) return;
    const at = new Map();
    for (const [user, seq] of this.room.marks) {
      if (user === this.room.me) continue;
      const index = this.room.indexOf(seq + 1) - 1;
      const message = this.room.messages[index];
      if (message) at.set(message.message_id, [...(at.get(message.message_id) ?? []), user]);
    }
    for (const [id, users] of at) {
      this.items.get(id)?.append(h("p.seen", {}, "Seen by ", users.join(", ")));
    }
  }

  async goTo(seq) {
    const { room } = this;
    while (room.older && seq < (room.messages[0]?.seq ?? 0)) {
      if (!(await this.actions.older()) || this.room !== room) break;
    }
    if (this.room !== room) return;
    const index = this.room.indexOf(seq);
    this.pinned = false;
    this.first = Math.max(0, index - WINDOW / 2);
    this.render();
    const element = this.items.get(this.room.messages[index]?.message_id);
    element?.scrollIntoView({ block: "center" });
    element?.classList.add("found-here");
    setTimeout(() => element?.classList.remove("found-here"), 2500);
  }

  toEnd() {
    this.pinned = true;
    this.render();
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
      else if (this.room.older && !this.loading) {
        this.loading = true;
        const room = this.room;
        const before = room.messages.length;
        await this.actions.older();
        this.loading = false;
        if (this.room !== room) return;
        this.first += room.messages.length - before;
        if (this.first > 0) this._shift(-STEP);
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
    this.pinned = false;
    this.render();
    if (anchor?.isConnected) this.list.scrollTop += anchor.getBoundingClientRect().top - was;
  }

  _dropFirst() {
    const message = this.room.messages[this.first++];
    this.items.get(message.message_id)?.remove();
    this.items.delete(message.message_id);
  }

  _item(message, key) {
    const own = message.sender_type === "user" && message.sender_id === this.room.me;
    const agent = this.room.session?.agent;
    const name =
      message.sender_type === "agent" && String(agent?.id) === message.sender_id ? agent.name : message.sender_id;
    const streaming = message.status === "streaming";
    const kind = [own ? "own" : "", message.sender_type, message.deleted_at ? "deleted" : "", streaming ? "streaming" : ""];
    const item = h("li.message", { dataset: { key, id: message.message_id, seq: message.seq } });
    item.className = ["message", ...kind.filter(Boolean)].join(" ");
    item.append(avatar(name, message.sender_type), h("div.bubble", {}, this._head(message, name), this._body(message)));
    const buttons = this._buttons(message, own, name);
    if (buttons.length) item.append(h("div.actions", {}, buttons));
    return item;
  }

  _head(message, name) {
    const flags = [message.is_edited && !message.deleted_at ? "edited" : "", FLAGS[message.status] ?? ENDS[message.finish_reason] ?? ""].filter(Boolean);
    return h(
      "p.meta",
      {},
      h("strong", {}, name),
      h("time", { datetime: message.created_at }, time(message.created_at)),
      flags.map((flag) => h("em", {}, flag)),
    );
  }

  _body(message) {
    if (message.deleted_at) return h("p.text", {}, "This message was deleted.");
    const parts = [];
    if (message.content || !message.files?.length) parts.push(h("p.text", {}, message.content ?? ""));
    if (message.error) parts.push(h("p.problem", {}, message.error.message || message.error.code));
    for (const file of message.files ?? []) parts.push(this._file(file));
    return parts;
  }

  _file(file) {
    const { name, size, type } = file.file_info;
    const picture = type.startsWith("image/") ? h("img", { alt: name, loading: "lazy" }) : icon(ICONS.file);
    const link = h("a.file", { target: "_blank", rel: "noopener" }, picture, h("span", {}, name, h("small", {}, bytes(size))));
    this._address(file.file_id, (signed) => {
      link.href = here(signed.url);
      if (picture.tagName === "IMG") picture.src = here(signed.thumbnail_url ?? signed.url);
      return link;
    }).catch(() => link.classList.add("missing"));
    return link;
  }

  /** Shows a file's signed addresses, and new ones before they end, for as long as `show`'s element is in the page. */
  async _address(id, show) {
    const held = this.addresses.get(id);
    const signed = held && Date.now() < held.until ? held : await this._sign(id);
    const element = show(signed);
    setTimeout(() => element.isConnected && this._address(id, show).catch(() => {}), signed.until - Date.now());
  }

  async _sign(id) {
    const signed = await this.actions.address(id);
    signed.until = Math.max(Date.now() + 5000, Date.parse(signed.expires_at) - 10000);
    this.addresses.set(id, signed);
    return signed;
  }

  _buttons(message, own, name) {
    const button = (label, path, onclick) =>
      h("button.icon-button", { type: "button", "aria-label": `${label} message of ${name}`, title: label, onclick }, icon(path));
    if (message.deleted_at) return [];
    if (message.status === "streaming") {
      return [h("button.button.small.stop", { type: "button", onclick: () => this.actions.stop(message) }, icon(ICONS.stop), " Stop")];
    }
    const found = [];
    if (own && message.message_type === "text") found.push(button("Edit", ICONS.edit, () => this.actions.edit(message)));
    if (own) found.push(button("Delete", ICONS.trash, () => this.actions.remove(message)));
    return found;
  }
}

const FLAGS = { streaming: "writing…", cancelled: "stopped", interrupted: "interrupted", failed: "failed" };
/** Of an answer that is complete, and did not come to its own end. */
const ENDS = { length: "cut at its limit", content_filter: "filtered", tool_calls: "asked for tools", error: "broken off", other: "ended early" };

function keyOf(message) {
  return `${message.revision}:${message.status}:${message.status === "streaming" ? 0 : message.content?.length}`;
}
