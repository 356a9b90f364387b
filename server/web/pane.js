// What one person sees of a conversation, and says in it.
import { Composer } from "./composer.js";
import { comment } from "./comment.js";
import { Details } from "./details.js";
import { ICONS, avatar, h, icon, notice, speak } from "./dom.js";
import { lost, told } from "./failures.js";
import { MessageList } from "./messages.js";
import { NAMES } from "./person.js";

/** Milliseconds for which it is told how a connection came back. */
const SHOWN = 8000;
/** Milliseconds for which the newest message is looked at before it is read. */
const READ = 200;
/** Messages that are asked for at once by who scrolls up. */
const PAGE = 200;

let panes = 0;

export class Pane {
  /** `owner`: closed(pane) and the like are the page's affair. */
  constructor(person, owner) {
    this.person = person;
    this.owner = owner;
    this.id = `pane-${++panes}`;
    const attempt = (action) => this._try(action);
    this.composer = new Composer(person, this.id, {
      attempt, said: () => (this.list.pinned = true),
    });
    this.details = new Details(person, this.id, attempt, (session) => person.about(session));
    const store = () => this.room.store;
    this.list = new MessageList({
      edit: (message) => this.composer.edit(message),
      stop: ({ message_id }) => this.composer.stop(message_id),
      again: ({ message_id }) => attempt(() => store().regenerate(message_id)),
      select: (id) => this._select(id),
      remove: ({ message_id }) => attempt(() => store().remove(message_id)),
      older: () => attempt(() => store().loadOlder(PAGE)),
      feedback: ({ message_id }, value) => attempt(() => store().feedback(message_id, value)),
      comment: (message) => this._comment(message),
      answer: (...given) => this._answer(...given),
      seen: () => this._seen(),
      address: (id) => person.parley.fileUrl(id),
    });
    this.element = this._build();
    this._onPerson = (event) => this._personChanged(event);
    person.addEventListener("change", this._onPerson);
    this._watch();
    this._status();
  }

  close() {
    this.person.removeEventListener("change", this._onPerson);
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
    this.cutButton = fault("Cut the network", `Cut the network: ${person.name}`, () => person.cut());
    this.halfButton = fault("Kill half-open", `Kill half-open: ${person.name}`, () => this._half());
    this.backButton = fault("Reconnect", `Reconnect: ${person.name}`, () => person.restore());
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
        "aria-labelledby": `${id}-title ${id}-who`, dataset: { person: person.sub },
        onkeydown: (event) => event.key === "Escape" && !event.target.closest(".ask") && this.composer.escape(event),
      },
      h(
        "header.pane-head",
        {},
        h("div.who", {}, avatar({ id: person.sub, name: person.name, picture: person.picture }), h("div", {}, this.title, h("p.as", {}, this.lamp, h("span", { id: `${id}-who` }, person.name), " · ", this.state))),
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
    this.room = room;
    this.element.classList.toggle("vacant", !room);
    this.composer.show(room);
    this.list.show(room);
    this._head();
  }

  _personChanged({ kind, before, how, count, seconds, error, data }) {
    if (kind === "room") this._watch();
    else if (kind === "changed") this._changed(before);
    else if (kind === "status") this._status();
    else if (kind === "back") this._back(how, count, seconds);
    else if (kind === "problem") this._failed(error);
    else if (kind === "session-event") this.owner.sessionEvent(this.person, data);
    else if (kind === "client") this.owner.reopened(this.person);
    else if (kind === "token") this.owner.remember();
  }

  /** From one snapshot to the next; what stayed is the same object. */
  _changed(before) {
    const { now } = this.room;
    const differs = (...names) => names.some((name) => now[name] !== before[name]);
    this.list.update();
    if (differs("session", "connection", "error")) this._head();
    if (differs("online", "onlineCount")) this._online();
    if (differs("typing")) this._typing();
    if (differs("messages")) this._speak(before);
    if (differs("connection") || this.room.newest?.message_id !== before.messages.at(-1)?.message_id) this._seen();
    this.composer.changed(before);
  }

  /** The newest message, when it is there or written to its end. */
  _speak({ messages, session }) {
    const { newest } = this.room;
    const old = messages.at(-1);
    if (!session || !newest || newest.status === "streaming") return;
    const comes = newest.message_id !== old?.message_id && !this.room.isOwn(newest);
    const ends = newest.message_id === old?.message_id && old.status === "streaming";
    if (comes || ends) speak(`${this.room.nameOf(newest)}: ${this.list.words(newest)}`);
  }

  _head() {
    const { room } = this;
    const ended = room?.closed ? ` (${room.closed})` : "";
    this.composer.element.inert = !room || Boolean(room.closed);
    this.title.textContent = room?.session ? `${room.session.title || "Untitled"}${ended}` : room ? "…" : "No session";
    this._online();
    this._typing();
    this._status();
  }

  _online() {
    const { room } = this;
    const users = Object.entries(room?.now.online ?? {});
    const one = ([user, status]) => {
      const who = room.who(user);
      return h(`li.${status}`, { title: `${who.name} is ${status}` }, avatar(who), h("span.hidden", {}, `${who.name}, ${status}`));
    };
    this.people.replaceChildren(...users.slice(0, 6).map(one));
    const count = room?.now.onlineCount ?? users.length;
    if (count > 6) this.people.append(h("li.more", {}, `+${count - 6}`));
  }

  _typing() {
    const { room } = this;
    const users = (room?.now.typing ?? []).filter((user) => user !== room.me);
    const names = users.map((user) => room.who(user).name);
    this.typing.textContent = users.length ? `${names.join(", ")} ${users.length > 1 ? "are" : "is"} typing` : "";
    this.typing.classList.toggle("on", users.length > 0);
  }

  _status() {
    const { status, room } = this.person;
    const why = lost(room?.now.error);
    const shown = { online: "online", connecting: "connecting…", cut: "network cut", ended: why ?? "closed" };
    if (status !== "online") this.backUntil = 0;
    else if (performance.now() < this.backUntil) return; // it is told how it came back
    this.lamp.className = `lamp ${status === "refused" ? "offline" : status}`;
    this.state.textContent = shown[status] ?? (why ? `offline: ${why}` : "offline");
    this.element.dataset.status = status === "refused" ? "offline" : status;
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
    this.backUntil = performance.now() + SHOWN;
    setTimeout(() => this._status(), SHOWN);
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
    if (said !== null) this._try(() => this.room.store.feedback(message.message_id, message.feedback.value, said || undefined));
  }

  _seen() {
    const { room } = this;
    if (!room?.newest || !this.list.pinned || document.visibilityState !== "visible") return;
    clearTimeout(this.reading);
    this.reading = setTimeout(() => this.room === room && room.store.markRead(), READ);
  }

  /** Another version of a message, for everybody; then it is here. */
  async _select(id) {
    const { room } = this;
    if (await this._try(() => room.store.select(id))) await room.until(() => this.room !== room || room.find(id));
  }

  /** The first answer counts: one that came later shows which it was, as the message tells. */
  async _answer({ message_id }, { id }, answer) {
    try {
      await this.room.store.answer(message_id, id, answer);
    } catch (error) {
      if (error.code !== "CONFLICT" || !error.details?.answer) throw error;
    }
  }

  _half() {
    if (!this.person.network.halfOpen()) notice("Only an upgraded connection can be left half-open: try again in a moment", "error");
  }

  _door(key) {
    this.person.through(key);
    this.owner.remember();
  }

  focus() {
    this.composer.focus();
  }
}
