// Where one writes: text, files, the message that is being edited, what is not confirmed yet, and the button that stops.
import { ICONS, h, icon } from "./dom.js";
import { Outbox } from "./outbox.js";

const TYPING_EVERY = 3000;
const TYPING_ENDS = 4000;
/** Milliseconds after which what is not confirmed is shown: mostly it has been by then. */
const UNCONFIRMED = 400;

export class Composer {
  /** `owner`: `attempt(action)` does it and tells of a failure, `failed(error)` tells, `said()` hears of each sending. */
  constructor(person, id, owner) {
    Object.assign(this, { person, owner });
    this.room = this.outbox = this.editing = null;
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
    this.outbox = room && new Outbox(this.person, room.sessionId, {
      changed: () => (this._unsent(), this.drawStop()),
      refused: (content, error) => this._refused(content, error),
      stop: (messageId) => this.stop(messageId),
    });
    this._drawUnsent();
    this.drawStop();
  }

  /** The connection came or went. */
  connected() {
    if (this.person.status === "online") this.outbox?.send();
    this._unsent();
  }

  focus() {
    this.input.focus();
  }

  // --- stop

  /** What is asked can be stopped, from the moment it was sent to the end of its answer. */
  drawStop() {
    const had = document.activeElement === this.stopButton;
    const asks = this.room?.session?.agent && this.outbox.items.length;
    this.stopButton.hidden = !asks && !this.room?.stoppable;
    if (had && this.stopButton.hidden) this.input.focus();
  }

  _stopHere() {
    if (this.stopButton.hidden) return;
    const id = this.room.stoppable;
    if (id) this.stop(id);
    else this.outbox.takeBack();
  }

  stop(messageId) {
    this.owner.attempt(() => this.person.call("stream_cancel", { message_id: messageId }));
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
    const branch = !this.branch.hidden && this.anew.checked && { branch: true, client_message_id: crypto.randomUUID() };
    this.input.value = "";
    this._grow();
    this._stopTyping();
    this.edit(null);
    this.owner.said();
    if (!editing) {
      this.outbox.add(content);
      return;
    }
    const reply = await this.owner.attempt(() => this.person.call("edit", { message_id: editing.message_id, content, ...branch }));
    if (!reply && this.room === room && !this.input.value) this.input.value = content;
  }

  _refused(content, error) {
    if (error) this.owner.failed(error);
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
    const lines = (this.outbox?.items ?? []).map(({ content, stopped }) => h("li", {}, h("p.text", {}, content), h("em", {}, waits, stopped ? ", to be stopped" : "")));
    this.unsent.replaceChildren(...lines);
  }

  /** A message of one's own is written anew; null: no more. */
  edit(message) {
    this.editing = message;
    this.banner.hidden = !message;
    if (message) {
      // What nobody has begun to answer is just another question then.
      const turn = this.room.turns.open.get(message.message_id);
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
      const last = this.room.messages.findLast((m) => m.sender_id === this.person.sub && m.message_type === "text" && !m.deleted_at);
      if (last) {
        event.preventDefault();
        this.edit(last);
      }
    }
  }

  _typed() {
    this._grow();
    const now = performance.now();
    if (!this.input.value) {
      this._stopTyping();
      return;
    }
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
      if ((await this.owner.attempt(() => this.person.rest("POST", path, { form }))) && text) this.input.value = "";
    }
    this.picker.value = "";
  }
}
