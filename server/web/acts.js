// What can be done with a message, as buttons. Knows no list.
import { ICONS, h, icon } from "./dom.js";

/** `actions` are the list's. */
export function buttons(message, room, actions) {
  if (message.deleted_at || message.status === "streaming") return [];
  const name = room.nameOf(message);
  const button = (label, path, act, { what = "message", pressed } = {}) =>
    h("button.icon-button", { type: "button", "aria-label": `${label} ${what} of ${name}`, "aria-pressed": pressed, title: label, onclick: () => act(message) }, icon(path));
  const own = room.isOwn(message);
  const turn = room.turnOf(message.message_id);
  return [
    own && turn && !turn.answer_id && button("Stop", ICONS.stop, actions.stop, { what: "question" }),
    own && message.message_id in room.now.outcomes && button("Ask again:", ICONS.again, actions.again, { what: "question" }),
    message.sender_type === "agent" && message.reply_to && message.status !== "waiting" && button("Regenerate", ICONS.again, actions.again, { what: "answer" }),
    own && message.message_type === "text" && button("Edit", ICONS.edit, actions.edit),
    own && button("Delete", ICONS.trash, actions.remove),
    ...(message.sender_type === "agent" && message.status !== "waiting" ? thumbs(message, button, actions) : []),
  ].filter(Boolean);
}

/** What one thinks of an answer: pressed again it is taken back. */
function thumbs({ feedback: { value, comment } = {} }, button, actions) {
  const thumb = (label, path, each) => button(label, path, (message) => actions.feedback(message, value === each ? null : each), { what: "answer", pressed: String(value === each) });
  return [
    thumb("Like", ICONS.up, "up"),
    thumb("Dislike", ICONS.down, "down"),
    value && button(comment ? "Change the comment on" : "Comment on", ICONS.comment, actions.comment, { what: "answer" }),
  ];
}

/** The versions of a message, to leaf through; null where it is the only one. */
export function versions(message, select) {
  const { siblings, message_id } = message;
  if (!(siblings?.length > 1)) return null;
  const at = siblings.indexOf(message_id);
  const leaf = (title, path, to) =>
    h("button.icon-button", { type: "button", "aria-label": title, title, disabled: !to, onclick: () => select(to, title) }, icon(path));
  return h(
    "span.versions",
    { role: "group", "aria-label": `Version ${at + 1} of ${siblings.length}` },
    leaf("Version before", ICONS.before, siblings[at - 1]),
    h("span", {}, `${at + 1}/${siblings.length}`),
    leaf("Version after", ICONS.after, siblings[at + 1]),
  );
}
