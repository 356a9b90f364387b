// A session's own affairs, in a dialog: its title, who takes part, whether it is open.
import { avatar, h } from "./dom.js";

const ROLES = { member: "reads and writes", viewer: "reads" };

export class Details {
  /** `attempt(action)` does it and tells of a failure; `changed(session)` hears what the server says of it. */
  constructor(person, id, attempt, changed) {
    Object.assign(this, { person, id, attempt, changed });
    this.session = null;
    this.add = this._add(); // stays as it is filled in, whatever is drawn anew
    this.inside = h("div.details");
    this.dialog = h("dialog", { "aria-labelledby": `${id}-details`, onclose: () => this.dialog.remove() }, this.inside);
  }

  async open(sessionId) {
    this.path = `/api/chat/sessions/${encodeURIComponent(sessionId)}`;
    if (!(await this._asked("GET", ""))) return;
    document.body.append(this.dialog);
    this.dialog.showModal();
  }

  /** What the server answers is shown; null where it refused. */
  async _asked(method, path, body) {
    const answer = await this.attempt(() => this.person.rest(method, this.path + path, { body }));
    if (answer) {
      this.session = { ...this.session, ...answer };
      this._draw();
      if (answer.status) this.changed(answer);
    }
    return answer;
  }

  _draw() {
    const { session, id } = this;
    const owner = session.role === "owner";
    const on = document.activeElement?.getAttribute("aria-label");
    this.inside.replaceChildren(
      h("h2", { id: `${id}-details` }, "Session"),
      this._title(owner),
      h("h3", {}, `People (${session.participant_count})`),
      h("ul.takes-part", {}, session.participants.map((user) => this._one(user, owner))),
      owner ? this.add : null,
      h(
        "div.row",
        {},
        owner ? this._ending() : null,
        h("button.button", { type: "button", onclick: () => this.dialog.close() }, "Close"),
      ),
    );
    // What was pressed is another element now.
    if (this.dialog.open) ([...this.dialog.querySelectorAll("[aria-label]")].find((each) => each.getAttribute("aria-label") === on) ?? this.dialog.querySelector("button")).focus();
  }

  _title(owner) {
    const title = h("input", { id: `${this.id}-name`, "aria-label": "Title", value: this.session.title ?? "", maxlength: "200", disabled: !owner, autocomplete: "off" });
    const rename = (event) => (event.preventDefault(), this._asked("PATCH", "", { title: title.value.trim() }));
    return h("form.line", { onsubmit: rename }, title, owner ? h("button.button", { type: "submit", "aria-label": "Rename" }, "Rename") : null);
  }

  _one(user, owner) {
    const role = this.session.participant_roles[user];
    const { name, avatar_url: picture } = this.session.users?.[user] ?? {};
    const who = { id: user, name: name || user, picture };
    const self = user === this.person.sub;
    const away = () => this._asked("DELETE", `/participants/${encodeURIComponent(user)}`);
    const leave = role !== "owner" && (owner || self);
    return h(
      "li",
      {},
      avatar(who),
      h("span", {}, who.name, " ", h("small", {}, role === "owner" ? "owner" : (ROLES[role] ?? role))),
      leave ? h("button.button.small", { type: "button", "aria-label": self ? "Leave" : `Remove ${who.name}`, onclick: self ? () => away().then((left) => left && this.dialog.close()) : away }, self ? "Leave" : "Remove") : null,
    );
  }

  _add() {
    const user = h("input", { "aria-label": "User id of a new participant", placeholder: "User id", required: true, maxlength: "255", autocomplete: "off" });
    const role = h("select", { "aria-label": "What they may do" }, Object.entries(ROLES).map(([value, text]) => h("option", { value }, text)));
    const add = async (event) => {
      event.preventDefault();
      if (await this._asked("PUT", `/participants/${encodeURIComponent(user.value.trim())}`, { role: role.value })) user.value = "";
    };
    return h("form.line", { onsubmit: add }, user, role, h("button.button", { type: "submit", "aria-label": "Add" }, "Add"));
  }

  _ending() {
    const open = this.session.status === "active";
    const text = open ? "Archive" : "Restore";
    return h("button.button", { type: "button", "aria-label": text, onclick: () => this._asked("PATCH", "", { status: open ? "archived" : "active" }) }, text);
  }
}
