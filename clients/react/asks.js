// What an answer waits for, as a form: docs/turns.md says what an interrupt is. Knows no React.

const APPROVALS = ["tool_call", "confirmation"];
const INPUTS = { boolean: "checkbox", number: "number", integer: "number" };

/** `{ fields: [{ name, label, type, choices }], approves, answer(yes, values) }` of an interrupt. `type` is an `<input>`'s;
 * `approves`: it wants a yes or no. `answer` makes what `session.answer` takes; `values` is a form's `FormData`. */
export function askOf({ reason, response_schema: schema }) {
  const { approved, ...properties } = schema?.properties ?? {};
  const fields = Object.entries(properties).map(([name, { type, title, enum: choices }]) => ({
    name, label: title ?? name, type: INPUTS[type] ?? "text", choices,
  }));
  const free = !approved && !fields.length && !APPROVALS.includes(reason);
  if (free) fields.push({ name: "answer", label: "", type: "text" });

  function answer(yes, values) {
    if (!yes && !approved) return { status: "cancelled" };
    const said = fields.map(({ name, type }) => [name, valueOf(type, values.get(name))]);
    const given = Object.fromEntries(said.filter(([, value]) => value !== undefined));
    if (free) return { status: "resolved", payload: given.answer };
    if (approved) return { status: "resolved", payload: { ...(yes && given), approved: yes } };
    return fields.length ? { status: "resolved", payload: given } : { status: "resolved" };
  }
  return { fields, approves: !fields.length || Boolean(approved), answer };
}

/** Of a field that was left empty: undefined. */
function valueOf(type, value) {
  if (type === "checkbox") return value !== null;
  if (value === null || value === "") return undefined;
  return type === "number" ? Number(value) : value;
}
