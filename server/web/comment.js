// A few words about an answer, in a dialog.
import { h } from "./dom.js";

const LONGEST = 2000; // characters

/** What one has to say; null: nothing, after all. */
export function comment(before) {
  const text = h("textarea", { id: "comment-text", rows: "4", maxlength: LONGEST });
  text.value = before ?? "";
  const dialog = h("dialog", { "aria-labelledby": "comment-title" });
  return new Promise((resolve) => {
    const done = (said) => (resolve(said), dialog.close());
    dialog.append(
      h(
        "form",
        { onsubmit: (event) => (event.preventDefault(), done(text.value.trim())) },
        h("h2", { id: "comment-title" }, "What do you think of this answer?"),
        h("label.hidden", { for: "comment-text" }, "Comment"),
        text,
        h("div.row", {}, h("button.button", { type: "button", onclick: () => done(null) }, "Cancel"), h("button.button.primary", { type: "submit" }, "Send")),
      ),
    );
    dialog.addEventListener("close", () => (resolve(null), dialog.remove()));
    document.body.append(dialog);
    dialog.showModal();
  });
}
