// What one person sees of a conversation, and says in it.
import { Composer } from "./composer.js";
import { comment } from "./comment.js";
import { Details } from "./details.js";
import { ICONS, avatar, h, icon, notice, speak } from "./dom.js";
import { LOST, told } from "./failures.js";
import { MessageList } from "./messages.js";
import { NAMES } from "./transports.js";

let panes = 0;

export class Pane {
  /** `owner`: closed(pane), renamed() and the like are the page's affair. */
  constructor(person, owner) {
    this.person = person;
    this.owner = owner;
    this.id = `pane-${++panes}`;
    const attempt = (action) => this._try(action);
    this.composer = new Composer(person, this.id, {
      attempt, failed: (error) => this._failed(error), said: () => (this.list.pinned = true),
    });
    this.details = new Details(person, this.id, attempt, (session) => person.about(session));
    this.list = new MessageList({
      edit: (message) => this.composer.edit(message),
      stop: ({ message_id }) => this.composer.stop(message_id),
      again: ({ message_id }) => attempt(() => person.call("regenerate", { message_id })),
      select: (id) => attempt(() => person.select(id)),
      remove: ({ message_id }) => attempt(() => person.call("delete", { message_id })),
      older: () => attempt(() => person.older()),
      feedback: (message, value) => attempt(() => person.feedback(message, value)),
      comment: (message) => this._comment(message),
      answer: (message, interrupt, answer) => person.answer(message, interrupt, answer),
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
    const details = h("button.icon-button", {
      type: "button", "aria-label": `About this session, as ${person.name}`, title: "Title, people, archive",
      onclick: () => this.room && this.details.open(this.room.sessionId),
    }, icon(ICONS.more));
    this.typing = h("p.typing", { "aria-live": "polite" });
    return h(
      "section.pane",
      {
        "aria-labelledby": `${id}-title`, dataset: { person: person.sub },
        onkeydown: (event) => event.key === "Escape" && !event.target.closest(".ask") && this.composer.escape(event),
      },
      h(
        "header.pane-head",
        {},
        h("div.who", {}, avatar({ id: person.sub, name: person.name, picture: person.picture }), h("div", {}, this.title, h("p.as", {}, this.lamp, h("span", {}, person.name), " · ", this.state))),
        this.people,
        details,
        leave,
        h("div.tools", {}, this.doors, h("div.faults", { role: "group", "aria-label": `Network of ${person.name}` }, this.cutButton, this.halfButton, this.backButton)),
      ),
      this.list.element,
      this.composer.unsent,
      this.typing,
      this.composer.element,
    );
  }

  // --- what happens

  _watch() {
    const { room } = this.person;
    if (this.room === room) return;
    this.room?.removeEventListener("change", this._onRoom);
    this.room = room;
    room?.addEventListener("change", this._onRoom);
    this.element.classList.toggle("vacant", !room);
    this.composer.show(room);
    this.list.show(room);
    this._head();
  }

  _personChanged({ kind, text, how, count, seconds, error, data }) {
    if (kind === "room") this._watch();
    else if (kind === "session") this._head();
    else if (kind === "status") {
      this._status(text);
      this.composer.connected();
    }
    else if (kind === "back") this._back(how, count, seconds);
    else if (kind === "problem") this._failed(error);
    else if (kind === "session-event") this.owner.sessionEvent(this.person, data);
  }

  _roomChanged({ kind, message }) {
    switch (kind) {
      case "added":
        this.list.added(message);
        if (message.sender_id !== this.person.sub && message.status !== "streaming") this._speak(message);
        this._seen();
        break;
      case "changed":
        this.list.changed(message);
        if (message.message_type === "stream" && message.status !== "streaming") {
          this._speak(message);
          if (message === this.room.newest) this.owner.written(this.person, this.room.sessionId, message);
        }
        break;
      case "grown":
        this.list.grown(message);
        break;
      case "thought":
        this.list.changed(message);
        break;
      case "turns":
        this.list.turned();
        this.composer.drawStop();
        break;
      case "marks":
        this.list.marks();
        break;
      case "typing":
        this._typing();
        break;
      case "session":
        this._head();
        break;
      case "presence":
        this._online();
        break;
      case "older":
        break; // the list asked for them, and moves its window by itself
      default:
        this.list.render();
        this._head();
        this.composer.drawStop();
        this._seen();
    }
  }

  _speak(message) {
    speak(`${this.room.nameOf(message)}: ${this.list.words(message)}`);
  }

  _head() {
    const session = this.room?.session;
    const ended = this.room?.closed ? ` (${session.status})` : "";
    this.composer.element.inert = !this.room || this.room.closed;
    this.title.textContent = session ? `${session.title || "Untitled"}${ended}` : this.room ? "…" : "No session";
    this._online();
    this._typing();
  }

  _online() {
    const room = this.room;
    const users = room ? [...room.online] : [];
    const one = ([user, status]) => {
      const who = room.who(user);
      return h(`li.${status}`, { title: `${who.name} is ${status}` }, avatar(who), h("span.hidden", {}, `${who.name}, ${status}`));
    };
    this.people.replaceChildren(...users.slice(0, 6).map(one));
    if (users.length > 6 || room?.onlineCount) this.people.append(h("li.more", {}, `+${(room.onlineCount ?? users.length) - 6}`));
  }

  _typing() {
    const users = [...(this.room?.typing ?? [])].filter((user) => user !== this.person.sub);
    const names = users.map((user) => this.room.who(user).name);
    this.typing.textContent = users.length ? `${names.join(", ")} ${users.length > 1 ? "are" : "is"} typing` : "";
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
      this._failed(error);
      return null;
    }
  }

  _failed(error) {
    notice(`${this.person.name}: ${told(error)}`, "error");
  }

  async _comment(message) {
    const said = await comment(message.feedback.comment);
    if (said !== null) this._try(() => this.person.feedback(message, message.feedback.value, said));
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
    this.composer.focus();
  }
}
