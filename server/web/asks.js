// What an answer waits for, and the means to say it: approval, a form, a tool's output. Knows no room.
import { h, time } from "./dom.js";
import { form } from "./forms.js";
import { json } from "./json.js";

const TITLES = { tool_call: "Asks for approval", confirmation: "Asks for confirmation", input_required: "Asks for input" };
const APPROVED = new Set(["tool_call", "confirmation"]);

/** What a call is shown as: a title is its server's word, so the tool's name stands with it. */
export function toolNamed({ name, title }) {
  return title && title !== name ? `${title} (${name})` : name;
}

/** One interrupt of a message. `means`: `answer(message, interrupt, answer)` gives one, and throws what is wrong;
 * `mayAnswer()`; `nameOf(user)`. */
export class Ask {
  constructor({ means }) {
    this.means = means;
    this.element = h("section.ask");
  }

  update(interrupt, message) {
    const may = this.means.mayAnswer();
    const tool = interrupt.tool_call_id && message.parts.find((part) => part.type === "tool" && part.tool_call_id === interrupt.tool_call_id);
    const key = JSON.stringify([interrupt, message.status, may, tool?.input]);
    if (this.key === key) return; // somebody may be filling it in
    Object.assign(this, { key, interrupt, message, tool });
    const title = this._title();
    this.element.setAttribute("aria-label", title);
    this.element.dataset.state = interrupt.answer ? interrupt.answer.status : message.status;
    this.element.replaceChildren(
      h("p", {}, h("strong", {}, title), interrupt.expires_at && !interrupt.answer ? h("span.note", {}, ` until ${time(interrupt.expires_at)}`) : null),
      ...(interrupt.message ? [h("p.text", {}, interrupt.message)] : []),
      ...(tool ? [h("p.label", {}, "Input"), json("Input", tool.input ?? tool.input_text ?? "")] : []),
      ...this._rest(may),
    );
  }

  /** A tool of the page is carried out by whoever sits before it. */
  get _carriesOut() {
    return this.tool?.executed_by === "client" && this.interrupt.reason === "tool_call" && this.tool.state !== "approval_requested";
  }

  _title() {
    const { interrupt, tool } = this;
    const named = tool ? `: ${toolNamed(tool)}` : "";
    return `${this._carriesOut ? "A tool of this page" : (TITLES[interrupt.reason] ?? interrupt.reason)}${named}`;
  }

  _rest(may) {
    const { interrupt, message } = this;
    if (interrupt.answer) return this._answered(interrupt.answer);
    if (message.status !== "waiting") return [h("p.note", {}, "Nobody has answered.")];
    return [may ? this._form() : h("p.note", {}, "Waits for somebody who may answer.")];
  }

  _answered({ status, payload, user_id, why }) {
    const denied = status === "cancelled" || payload?.approved === false;
    const by = user_id ? ` by ${this.means.nameOf(user_id)}` : "";
    const words = APPROVED.has(this.interrupt.reason) && !this._carriesOut ? ["approved", "denied"] : ["answered", "declined"];
    const told = why === "expired" ? "Nobody answered in time." : why === "stopped" ? "It was stopped before anybody answered." : `It was ${words[denied ? 1 : 0]}${by}.`;
    return [h("p.note.outcome", {}, told), ...(payload === undefined || payload === null ? [] : [json("Answer", payload)])];
  }

  _form() {
    const { response_schema: schema, reason } = this.interrupt;
    const approves = !this._carriesOut && (APPROVED.has(reason) || isApproval(schema));
    // Whether it is approved say the buttons.
    const fields = this._fields(schema, approves);
    this.problem = h("p.problem", { role: "alert" });
    const yes = h("button.button.primary", { type: "submit" }, approves ? "Approve" : "Send");
    const no = h("button.button", { type: "button", onclick: () => this._say(false, fields, schema) }, approves ? "Deny" : "Decline");
    const send = (event) => (event.preventDefault(), this._say(true, fields, schema));
    return h("form", { onsubmit: send }, fields?.element, this.problem, h("div.buttons", {}, yes, no));
  }

  _fields(schema, approves) {
    if (!schema) return approves ? null : this._carriesOut ? output() : form({ type: "string" }, "Answer");
    if (!isApproval(schema)) return form(schema, "Answer");
    const { approved: _, ...properties } = schema.properties;
    return Object.keys(properties).length ? form({ ...schema, properties }, "Answer") : null;
  }

  async _say(yes, fields, schema) {
    const approval = isApproval(schema);
    const resolved = yes || approval;
    const answer = { status: resolved ? "resolved" : "cancelled" };
    const buttons = this.element.querySelectorAll("button");
    this.problem.textContent = "";
    try {
      const given = resolved ? fields?.value() : undefined;
      if (approval) answer.payload = { ...given, approved: yes };
      else if (given !== undefined) answer.payload = given;
      for (const each of buttons) each.disabled = true;
      await this.means.answer(this.message, this.interrupt, answer);
    } catch (error) {
      this.problem.textContent = error.message;
      for (const each of buttons) each.disabled = false;
    }
  }
}

/** What a tool gave: JSON where it is some, else text. */
function output() {
  const { element, value } = form({ type: "string" }, "Output (JSON or text)");
  const read = () => {
    const given = value() ?? "";
    try {
      return JSON.parse(given);
    } catch {
      return given;
    }
  };
  return { element, value: read };
}

/** A schema that has yes or no in it, as `approved`. */
function isApproval(schema) {
  return schema?.type === "object" && schema.properties?.approved?.type === "boolean";
}
