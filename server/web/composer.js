// Where one writes: text, files, the message that is being edited, what is not confirmed yet, and the button that stops.
import { newId } from "parley-client";
import { ICONS, h, icon } from "./dom.js";
import { told } from "./failures.js";

const TYPING_ENDS = 4000;
/** Milliseconds after which what is not confirmed is shown: mostly it has been by then. */
const UNCONFIRMED = 400;

export class Composer {
  /** `owner`: `attempt(action)` does it and tells of a failure, `said()` hears of each sending. */
  constructor(person, id, owner) {
    Object.assign(this, { person, owner });
    this.room = this.editing = null;
    this.stops = new Set(); // what is sent already, and stopped as soon as it is there: client_message_id
    this.unsent = h("ol.unsent", { "aria-label": "Not confirmed yet" });
    this.element = this._build(id);
  }

  _build(id) {
    const { person } = this;
    this.input = h("textarea", {
      id: `${id}-text`, rows: "1", placeholder: `Write as ${person.name}`,
      oninput: () => this._typed(), onkeydown: (event) => this._key(event),
      onpaste: (event) => event.clipboardData.files.length && (event.preventDefault(), this._upload(event.clipboardData.files)),
    });
    this.picker = h("input", { type: "file", hidden: true, multiple: true, "aria-label": "Files", onchange: () => this._upload(this.picker.files) });
    this.anew = h("input", { type: "checkbox" });
    this.branch = h("label.check", {}, this.anew, "Beside the old one, and answered anew");
    this.banner = h("p.editing", { hidden: true }, h("span", {}, "Editing a message."), this.branch, h("button.link", { type: "button", onclick: () => this.edit(null) }, "Cancel"));
    this.stopButton = h("button.icon-button.stop", { type: "button", hidden: true, "aria-label": `Stop the answer as ${person.name}`, title: "Stop the answer (Esc)", onclick: () => this._stopHere() }, icon(ICONS.stop));
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

  show(room) {
    this.room = room;
    this.edit(null);
    this._drawUnsent();
    this.drawStop();
  }

  /** The room is another one than `before`. */
  changed(before) {
    const { now } = this.room;
    if (now.pending !== before.pending || now.connection !== before.connection) this._unsent();
    this.drawStop();
  }

  focus() {
    this.input.focus();
  }

  // --- stop

  /** What is asked can be stopped, from the moment it was sent to the end of its answer. */
  drawStop() {
    const had = document.activeElement === this.stopButton;
    const asks = this.room?.session?.agent && this._lastUnsent();
    this.stopButton.hidden = !asks && !this.room?.stoppable;
    if (had && this.stopButton.hidden) this.input.focus();
  }

  _lastUnsent() {
    return this.room.now.pending.findLast(({ status }) => status !== "failed");
  }

  _stopHere() {
    if (this.stopButton.hidden) return;
    const id = this.room.stoppable;
    if (id) this.stop(id);
    else this._takeBack(this._lastUnsent());
  }

  /** It goes no further, and is where it was written; what may have reached the server is stopped there. */
  _takeBack({ client_message_id: id, content }) {
    if (this.room.store.discard(id)) {
      if (!this.input.value) this.input.value = content;
      this._grow();
    } else this.stops.add(id);
    this._drawUnsent();
  }

  stop(messageId) {
    this.owner.attempt(() => this.room.store.stop(messageId));
  }

  /** Esc, wherever in the pane: first out of editing, then it stops what is open. */
  escape(event) {
    if (event.isComposing || event.repeat) return;
    if (this.editing) {
      this.input.value = "";
      this.edit(null);
      this._grow();
    } else this._stopHere();
  }

  // --- writing

  async _send() {
    const content = this.input.value.trim();
    if (!content || !this.room) return;
    const { editing, room } = this;
    const branch = !this.branch.hidden && this.anew.checked && { branch: true };
    this.input.value = "";
    this._grow();
    this._stopTyping();
    this.edit(null);
    this.owner.said();
    if (!editing) {
      this._say(content);
      return;
    }
    const reply = await this.owner.attempt(() => room.store.edit(editing.message_id, content, { ...branch }));
    if (!reply && this.room === room && !this.input.value) this.input.value = content;
  }

  /** What becomes of it the list of what is not confirmed shows. */
  async _say(content) {
    const client_message_id = newId();
    const { message_id } = await this.room.store.send({ content, client_message_id }).catch(() => ({}));
    if (message_id && this.stops.delete(client_message_id)) this.stop(message_id);
  }

  _unsent() {
    clearTimeout(this.unsentSoon);
    const { pending, connection } = this.room.now;
    if (this.unsent.childElementCount || connection !== "online" || pending.some(({ status }) => status === "failed")) this._drawUnsent();
    else this.unsentSoon = setTimeout(() => this._drawUnsent(), UNCONFIRMED);
  }

  _drawUnsent() {
    this.unsent.replaceChildren(...(this.room?.now.pending ?? []).map((each) => this._line(each)));
  }

  _line(pending) {
    const { client_message_id: id, content, status, error } = pending;
    const text = h("p.text", {}, content);
    if (status !== "failed") {
      const waits = this.person.status === "online" ? "is being sent" : "waits for the network";
      return h("li", {}, text, h("em", {}, waits, this.stops.has(id) ? ", to be stopped" : ""));
    }
    const button = (name, act) => h("button.link", { type: "button", onclick: act }, name);
    return h(
      "li.failed", {}, text, h("em", {}, `was not taken: ${told(error)} `),
      button("Send it again", () => this.room.store.retry(id)), " ", button("Take it back", () => this._takeBack(pending)),
    );
  }

  /** A message of one's own is written anew; null: no more. */
  edit(message) {
    this.editing = message;
    this.banner.hidden = !message;
    if (message) {
      // What nobody has begun to answer is just another question then.
      const turn = this.room.turnOf(message.message_id);
      this.branch.hidden = !this.room.session?.agent || Boolean(turn);
      this.anew.checked = true;
      this.input.value = message.content;
      this.input.focus();
      this._grow();
    }
  }

  _key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this._send();
    } else if (event.key === "ArrowUp" && !this.input.value && this.room) {
      const last = this.room.messages.findLast((m) => this.room.isOwn(m) && m.message_type === "text" && !m.deleted_at);
      if (last) {
        event.preventDefault();
        this.edit(last);
      }
    }
  }

  _typed() {
    this._grow();
    clearTimeout(this.typingEnds);
    if (!this.input.value) return this._stopTyping();
    this.typingEnds = setTimeout(() => this._stopTyping(), TYPING_ENDS);
    this.room?.store.typing();
  }

  _stopTyping() {
    clearTimeout(this.typingEnds);
    this.room?.store.typing(false);
  }

  _grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(160, this.input.scrollHeight)}px`;
  }

  async _upload(files) {
    for (const file of [...files]) {
      const message = this.input.value.trim();
      if ((await this.owner.attempt(() => this.room.store.upload(file, { message }))) && message) this.input.value = "";
    }
    this.picker.value = "";
  }
}
