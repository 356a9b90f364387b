// What one person sees of a conversation, and says in it.
import { $, ICONS, avatar, bytes, h, icon, notice, speak } from "./dom.js";
import { MessageList } from "./messages.js";
import { Outbox } from "./outbox.js";
import { NAMES } from "./transports.js";

const TYPING_EVERY = 3000;
const TYPING_ENDS = 4000;
/** Milliseconds after which what is not confirmed is shown: mostly it has been by then. */
const UNCONFIRMED = 400;
let panes = 0;

export class Pane {
  /** `owner`: closed(pane), renamed() and the like are the page's affair. */
  constructor(person, owner) {
    this.person = person;
    this.owner = owner;
    this.id = `pane-${++panes}`;
    this.editing = null;
    this.list = new MessageList({
      edit: (message) => this._edit(message),
      remove: (message) => this._try(() => person.call("delete", { message_id: message.message_id })),
      older: () => this._try(() => person.older()),
      seen: () => this._seen(),
      address: (id) => person.rest("GET", `/api/chat/files/${encodeURIComponent(id)}/url`),
    });
    this.element = this._build();
    this._onRoom = (event) => this._roomChanged(event);
    this._onPerson = (event) => this._personChanged(event);
    person.addEventListener("change", this._onPerson);
    this._watch();
    this._status();
  }

  close() {
    this.person.removeEventListener("change", this._onPerson);
    this.room?.removeEventListener("change", this._onRoom);
    this.person.close();
    this.element.remove();
  }

  // --- building

  _build() {
    const { person, id } = this;
    this.title = h("h2", { id: `${id}-title` }, "No session");
    this.people = h("ul.here", { "aria-label": "Online" });
    this.lamp = h("span.lamp", { "aria-hidden": "true" });
    this.state = h("span.state", { role: "status" });
    this.doors = h("fieldset.doors", {}, h("legend.hidden", {}, `Transport of ${person.name}`));
    for (const [key, name] of Object.entries(NAMES)) {
      const choice = h("input", {
        type: "radio", name: `${id}-door`, value: key, checked: key === person.transport,
        disabled: !this.owner.transports.includes(key), onchange: () => this._door(key),
      });
      this.doors.append(h("label", {}, choice, h("span", {}, name)));
    }
    const fault = (text, label, onclick) => h("button.button.small", { type: "button", "aria-label": label, onclick }, text);
    this.cutButton = fault("Cut the network", `Cut the network: ${person.name}`, () => this._cut());
    this.halfButton = fault("Kill half-open", `Kill half-open: ${person.name}`, () => this._half());
    this.backButton = fault("Reconnect", `Reconnect: ${person.name}`, () => person.link?.restore());
    this.backButton.classList.add("primary");
    const leave = h("button.icon-button.close", {
      type: "button", "aria-label": `Close ${person.name}'s side`, title: "Close", onclick: () => this.owner.closed(this),
    }, "×");
    this.typing = h("p.typing", { "aria-live": "polite" });
    this.unsent = h("ol.unsent", { "aria-label": "Not confirmed yet" });
    return h(
      "section.pane",
      { "aria-labelledby": `${id}-title`, dataset: { person: person.sub } },
      h(
        "header.pane-head",
        {},
        h("div.who", {}, avatar(person.name), h("div", {}, this.title, h("p.as", {}, this.lamp, h("span", {}, person.name), " · ", this.state))),
        this.people,
        leave,
        h("div.tools", {}, this.doors, h("div.faults", { role: "group", "aria-label": `Network of ${person.name}` }, this.cutButton, this.halfButton, this.backButton)),
      ),
      this.list.element,
      this.unsent,
      this.typing,
      this._composer(),
    );
  }

  _composer() {
    const { id, person } = this;
    this.input = h("textarea", {
      id: `${id}-text`, rows: "1", placeholder: `Write as ${person.name}`,
      oninput: () => this._typed(), onkeydown: (event) => this._key(event),
      onpaste: (event) => event.clipboardData.files.length && (event.preventDefault(), this._upload(event.clipboardData.files)),
    });
    this.picker = h("input", { type: "file", hidden: true, multiple: true, "aria-label": "Files", onchange: () => this._upload(this.picker.files) });
    this.banner = h("p.editing", { hidden: true }, "Editing a message. ", h("button.link", { type: "button", onclick: () => this._edit(null) }, "Cancel"));
    this.stopButton = h("button.icon-button.stop", { type: "button", hidden: true, "aria-label": `Stop the answer as ${person.name}`, title: "Stop the answer (Esc)", onclick: () => this._stop() }, icon(ICONS.stop));
    const form = h(
      "form.composer",
      { onsubmit: (event) => (event.preventDefault(), this._send()) },
      this.banner,
      this.picker,
      h("button.icon-button", { type: "button", "aria-label": `Attach a file as ${person.name}`, title: "Attach a file", onclick: () => this.picker.click() }, icon(ICONS.attach)),
      h("label.hidden", { for: `${id}-text` }, `Message as ${person.name}`),
      this.input,
      this.stopButton,
      h("button.icon-button.send", { type: "submit", "aria-label": `Send as ${person.name}`, title: "Send" }, icon(ICONS.send)),
    );
    form.addEventListener("dragover", (event) => event.preventDefault());
    form.addEventListener("drop", (event) => (event.preventDefault(), this._upload(event.dataTransfer.files)));
    return form;
  }

  // --- what happens

  _watch() {
    const { room } = this.person;
    if (this.room === room) return;
    this.room?.removeEventListener("change", this._onRoom);
    this.room = room;
    room?.addEventListener("change", this._onRoom);
    this.element.classList.toggle("vacant", !room);
    this._edit(null);
    this.outbox = room && new Outbox(this.person, room.sessionId, {
      changed: () => this._unsent(),
      refused: (content, error) => this._refused(content, error),
    });
    this._drawUnsent();
    this.list.show(room);
    this._head();
    this._writing();
  }

  _personChanged({ kind, text, how, count, seconds, error, data }) {
    if (kind === "room") this._watch();
    else if (kind === "session") this._head();
    else if (kind === "status") {
      this._status(text);
      if (this.person.status === "online") this.outbox?.send();
      this._unsent();
    }
    else if (kind === "back") this._back(how, count, seconds);
    else if (kind === "problem") notice(`${this.person.name}: ${told(error)}`, "error");
    else if (kind === "session-event") this.owner.sessionEvent(this.person, data);
  }

  _roomChanged({ kind, message }) {
    switch (kind) {
      case "added":
        this.list.added(message);
        if (message.sender_id !== this.person.sub && message.status !== "streaming") this._speak(message);
        this._writing();
        this._seen();
        break;
      case "changed":
        this.list.changed(message);
        if (message.message_type === "stream" && message.status !== "streaming") {
          this._speak(message);
          if (message === this.room.newest) this.owner.written(this.person, this.room.sessionId, message);
        }
        this._writing();
        break;
      case "grown":
        this.list.grown(message);
        break;
      case "marks":
        this.list.marks();
        break;
      case "typing":
        this._typing();
        break;
      case "presence":
        this._online();
        break;
      case "older":
        break; // the list asked for them, and moves its window by itself
      default:
        this.list.render();
        this._head();
        this._writing();
        this._seen();
    }
  }

  _speak(message) {
    speak(`${this.room.nameOf(message)}: ${this.list.words(message)}`);
  }

  /** While an answer is written it can be stopped, from where one writes. */
  _writing() {
    this.stopButton.hidden = !this.room?.writing;
  }

  _stop() {
    const message = this.room?.writing;
    if (message) this._try(() => this.person.call("stream_cancel", { message_id: message.message_id }));
  }

  _head() {
    const session = this.room?.session;
    this.title.textContent = session ? session.title || "Untitled" : this.room ? "…" : "No session";
    this._online();
    this._typing();
  }

  _online() {
    const room = this.room;
    const users = room ? [...room.online] : [];
    this.people.replaceChildren(
      ...users.slice(0, 6).map(([user, status]) =>
        h(`li.${status}`, { title: `${user} is ${status}` }, avatar(user), h("span.hidden", {}, `${user}, ${status}`)),
      ),
    );
    if (users.length > 6 || room?.onlineCount) this.people.append(h("li.more", {}, `+${(room.onlineCount ?? users.length) - 6}`));
  }

  _typing() {
    const users = [...(this.room?.typing ?? [])].filter((user) => user !== this.person.sub);
    this.typing.textContent = users.length ? `${users.join(", ")} ${users.length > 1 ? "are" : "is"} typing` : "";
    this.typing.classList.toggle("on", users.length > 0);
  }

  _status(text = "") {
    const { status } = this.person;
    const shown = { online: "online", connecting: "connecting…", cut: "network cut", offline: text ? `offline: ${LOST[text] ?? text}` : "offline" };
    this.lamp.className = `lamp ${status}`;
    this.state.textContent = shown[status];
    this.element.dataset.status = status;
    this.cutButton.disabled = this.halfButton.disabled = status !== "online";
    this.backButton.hidden = status !== "cut";
    this.cutButton.hidden = status === "cut";
  }

  _back(how, count, seconds) {
    const events = `${count} ${how === "recovered" ? "event" : "change"}${count === 1 ? "" : "s"}`;
    const text =
      how === "recovered"
        ? `Recovered after ${seconds.toFixed(1)} s · ${events} replayed`
        : `Synced after ${seconds.toFixed(1)} s · ${events} from the database`;
    this.state.textContent = text;
    this.element.dataset.back = how;
    notice(`${this.person.name}: ${text}`, "good");
    clearTimeout(this.backShown);
    this.backShown = setTimeout(() => this.person.status === "online" && this._status(), 8000);
  }

  // --- what the person does

  async _try(action) {
    try {
      return await action();
    } catch (error) {
      notice(`${this.person.name}: ${told(error)}`, "error");
      return null;
    }
  }

  async _send() {
    const content = this.input.value.trim();
    if (!content || !this.room) return;
    const { editing, room } = this;
    this.input.value = "";
    this._grow();
    this._stopTyping();
    this._edit(null);
    this.list.pinned = true;
    if (!editing) return this.outbox.add(content);
    const reply = await this._try(() => this.person.call("edit", { message_id: editing.message_id, content }));
    if (!reply && this.room === room && !this.input.value) this.input.value = content;
  }

  _refused(content, error) {
    notice(`${this.person.name}: ${told(error)}`, "error");
    if (!this.input.value) this.input.value = content;
    this._grow();
  }

  _unsent() {
    clearTimeout(this.unsentSoon);
    if (this.unsent.childElementCount || this.person.status !== "online") this._drawUnsent();
    else this.unsentSoon = setTimeout(() => this._drawUnsent(), UNCONFIRMED);
  }

  _drawUnsent() {
    const waits = this.person.status === "online" ? "is being sent" : "waits for the network";
    this.unsent.replaceChildren(...(this.outbox?.items ?? []).map(({ content }) => h("li", {}, h("p.text", {}, content), h("em", {}, waits))));
  }

  _edit(message) {
    this.editing = message;
    this.banner.hidden = !message;
    if (message) {
      this.input.value = message.content;
      this.input.focus();
      this._grow();
    }
  }

  _key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this._send();
    } else if (event.key === "Escape" && this.editing) {
      this.input.value = "";
      this._edit(null);
    } else if (event.key === "Escape" && !event.isComposing) {
      this._stop();
    } else if (event.key === "ArrowUp" && !this.input.value && this.room) {
      const last = this.room.messages.findLast((m) => m.sender_id === this.person.sub && m.message_type === "text" && !m.deleted_at);
      if (last) {
        event.preventDefault();
        this._edit(last);
      }
    }
  }

  _typed() {
    this._grow();
    const now = performance.now();
    if (!this.input.value) return this._stopTyping();
    clearTimeout(this.typingEnds);
    this.typingEnds = setTimeout(() => this._stopTyping(), TYPING_ENDS);
    if (now - (this.typingSaid ?? -Infinity) < TYPING_EVERY) return;
    this.typingSaid = now;
    if (this.person.status === "online") this.person.call("typing", { is_typing: true }).catch(() => {});
  }

  _stopTyping() {
    clearTimeout(this.typingEnds);
    if (this.typingSaid === undefined) return;
    this.typingSaid = undefined;
    if (this.person.status === "online") this.person.call("typing", { is_typing: false }).catch(() => {});
  }

  _grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(160, this.input.scrollHeight)}px`;
  }

  async _upload(files) {
    for (const file of [...files]) {
      const form = new FormData();
      const text = this.input.value.trim();
      if (text) form.append("message", text);
      form.append("file", file);
      const path = `/api/chat/sessions/${encodeURIComponent(this.room.sessionId)}/files`;
      if ((await this._try(() => this.person.rest("POST", path, { form }))) && text) this.input.value = "";
    }
    this.picker.value = "";
  }

  _seen() {
    const { room } = this;
    const seq = room?.newest?.seq;
    if (!seq || !this.list.pinned || document.visibilityState !== "visible") return;
    if (seq <= (room.marks.get(this.person.sub) ?? 0) || this.person.status !== "online") return;
    clearTimeout(this.reading);
    this.reading = setTimeout(async () => {
      if (this.room !== room || seq <= (room.marks.get(this.person.sub) ?? 0)) return;
      room.marks.set(this.person.sub, seq);
      await this.person.call("read", { seq }).catch(() => {});
      this.owner.wasRead(this.person, room.sessionId);
    }, 200);
  }

  _cut() {
    this.person.link.cut();
  }

  _half() {
    if (!this.person.link.halfOpen()) notice("Only an upgraded connection can be left half-open: try again in a moment", "error");
  }

  _door(key) {
    this.person.through(key);
    this.owner.remember();
  }

  focus() {
    $("textarea", this.element).focus();
  }
}

/** Why a connection is not there, where a client's library says it in its own words. */
const LOST = {
  "xhr poll error": "the server cannot be reached", "websocket error": "the server cannot be reached", timeout: "the server does not answer",
  "transport close": "the connection broke", "transport error": "the connection broke", "ping timeout": "the server went silent",
  "io server disconnect": "the server closed the connection", "Failed to fetch": "the server cannot be reached",
  "network error": "the connection broke", 1006: "the connection broke", 1001: "the server is going away", ended: "the server closed the connection",
};

/** A failure in words: sizes as people say them. */
function told({ message, code }) {
  return (message || code || "it did not work").replace(/(\d{4,}) bytes/, (_, count) => bytes(Number(count)));
}
