// What can be done with a message, as buttons. Knows no list.
import { ICONS, h, icon } from "./dom.js";

/** `actions` are the list's. */
export function buttons(message, room, actions) {
  if (message.deleted_at || message.status === "streaming") return [];
  const name = room.nameOf(message);
  const button = (label, path, act, what = "message") =>
    h("button.icon-button", { type: "button", "aria-label": `${label} ${what} of ${name}`, title: label, onclick: () => act(message) }, icon(path));
  const own = message.sender_type === "user" && message.sender_id === room.me;
  const turn = room.turns.open.get(message.message_id);
  return [
    own && turn && !turn.answer_id && button("Stop", ICONS.stop, actions.stop, "question"),
    own && message.message_type === "text" && button("Edit", ICONS.edit, actions.edit),
    own && button("Delete", ICONS.trash, actions.remove),
  ].filter(Boolean);
}
