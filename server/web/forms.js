// A form from a JSON Schema: text, numbers, yes or no, choices, and an object of these within another; JSON for all
// else. Knows no message.
import { h } from "./dom.js";

/** Fields that a form has at most; one with more is written as JSON. */
const FIELDS = 50;
const TYPES = { email: "email", uri: "url", date: "date" };
let ids = 0;

/** What is asked for: { element, value() }. `value` is undefined where nothing was given, and throws what is wrong. */
export function form(schema, label) {
  return field(schema, label, true, 0);
}

function field(schema, label, required, depth) {
  const given = schema && typeof schema === "object" ? schema : {};
  const made = make(given, label, required, depth);
  if (typeof given.description !== "string" || made.group) return made;
  const id = `about-${++ids}`;
  made.input.setAttribute("aria-describedby", id);
  made.element = h("div.described", {}, made.element, h("p.label", { id }, given.description));
  return made;
}

function make(schema, label, required, depth) {
  const choices = choicesOf(schema);
  const type = [schema.type].flat().find((each) => each !== "null");
  if (choices) return choice(choices, schema, label, required);
  if (type === "boolean") return check(schema, label);
  if (type === "number" || type === "integer") return number(schema, label, required, type);
  if (type === "string") return text(schema, label, required);
  const names = type === "object" && schema.properties ? Object.keys(schema.properties) : [];
  if (names.length && names.length <= FIELDS && depth < 2) return group(schema, names, label, depth);
  return json(schema, label, required);
}

function labelled(label, input) {
  return h("label.field", {}, h("span", {}, label), input);
}

function group(schema, names, label, depth) {
  const fields = names.map((name) => {
    const inner = schema.properties[name];
    return [name, field(inner, titleOf(inner) ?? name, (schema.required ?? []).includes(name), depth + 1)];
  });
  const about = typeof schema.description === "string" ? h("p.label", {}, schema.description) : null;
  const element = h("fieldset.group", {}, h("legend", {}, label), about, fields.map(([, each]) => each.element));
  const value = () => Object.fromEntries(fields.map(([name, each]) => [name, each.value()]).filter(([, given]) => given !== undefined));
  return { element, value, group: true };
}

function titleOf(schema) {
  return typeof schema?.title === "string" && schema.title ? schema.title : null;
}

/** `enum`, or a list of constants with titles. */
function choicesOf({ enum: values, oneOf }) {
  if (Array.isArray(values)) return values.map((value) => ({ value, title: typeof value === "string" ? value : JSON.stringify(value) }));
  if (!Array.isArray(oneOf) || !oneOf.every((each) => each && typeof each === "object" && "const" in each)) return null;
  return oneOf.map((each) => ({ value: each.const, title: titleOf(each) ?? String(each.const) }));
}

function choice(choices, schema, label, required) {
  const chosen = choices.findIndex(({ value }) => value === schema.default);
  const options = choices.map(({ title }, at) => h("option", { value: at, selected: at === chosen }, title));
  const input = h("select", { required }, h("option", { value: "" }, required ? "Choose…" : "–"), options);
  return { element: labelled(label, input), input, value: () => choices[input.value]?.value };
}

function check(schema, label) {
  const input = h("input", { type: "checkbox", checked: schema.default === true });
  return { element: h("label.field.check", {}, input, h("span", {}, label)), input, value: () => input.checked };
}

function number(schema, label, required, type) {
  const { minimum: min, maximum: max } = schema;
  const input = h("input", { type: "number", step: type === "integer" ? "1" : "any", min, max, required, value: schema.default });
  return { element: labelled(label, input), input, value: () => (input.value === "" ? undefined : Number(input.value)) };
}

function text(schema, label, required) {
  const { minLength: minlength, maxLength: maxlength } = schema;
  const type = TYPES[schema.format];
  const attributes = { minlength, maxlength, required, autocomplete: "off" };
  const input = type ? h("input", { type, ...attributes }) : h("textarea", { rows: maxlength > 200 ? 3 : 1, ...attributes });
  if (typeof schema.default === "string") input.value = schema.default;
  return { element: labelled(label, input), input, value: () => input.value || undefined };
}

function json(schema, label, required) {
  const input = h("textarea", { rows: 3, required, spellcheck: "false", placeholder: "JSON" });
  if (schema.default !== undefined) input.value = JSON.stringify(schema.default, null, 2);
  const value = () => {
    if (!input.value.trim()) return undefined;
    try {
      return JSON.parse(input.value);
    } catch {
      throw new Error(`${label} is no JSON`);
    }
  };
  return { element: labelled(`${label} (JSON)`, input), input, value };
}
