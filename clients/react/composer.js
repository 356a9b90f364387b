"use client";
// What writing is made of: keys, files, a draft, and a word to the others. Knows no look.
import { useState } from "react";
import { useDraft } from "./draft.js";
import { useDropped, useUpload } from "./files.js";
import { useSession, useTyping } from "./sessions.js";
import { isAnswering } from "./state.js";

const nothing = () => {};

/** Enter says it, Shift+Enter begins a line; while a syllable of Korean, Japanese or Chinese is written, Enter ends that. */
const isEnter = ({ key, shiftKey, nativeEvent }) => key === "Enter" && !shiftKey && !nativeEvent.isComposing;

/** `{ text, files, ready, answering, over, typing, form, field, picker, stop, remove, retry }`: `form`, `field` and `picker`
 * are properties of a `<form>`, its `<textarea>` and an `<input type="file">`. Escape stops the answer that is written,
 * the up arrow in an empty field is `onEditLast`. `onSent(text)` comes after each message, `onError` for what failed. */
export function useComposer(id, { onSent = nothing, onEditLast = nothing, onError = nothing } = {}) {
  const [answering, session] = useSession(id, isAnswering);
  const [text, setText] = useDraft(id);
  const [typing, type] = useTyping(id);
  const { files, add, remove, retry, take } = useUpload(id);
  const over = useDropped(add);
  const said = text.trim();
  const ready = Boolean(session) && files.every(({ status }) => status === "ready") && Boolean(said || files.length);

  function send(event) {
    event?.preventDefault();
    if (!ready) return;
    const parts = [...take(), ...(said ? [{ type: "text", text: said }] : [])];
    session.send(files.length ? { parts } : said).catch(nothing); // what was refused is among `pending`, with its reason
    setText("");
    onSent(said);
  }
  const stop = () => session?.stop().catch(onError);
  function onKeyDown(event) {
    if (isEnter(event)) send(event);
    else if (event.key === "Escape" && answering) stop();
    else if (event.key === "ArrowUp" && !text) {
      event.preventDefault();
      onEditLast();
    }
  }
  const onChange = ({ target }) => {
    setText(target.value);
    type(target.value !== "");
  };
  const picked = ({ target }) => {
    add([...target.files]);
    target.value = "";
  };
  return {
    text, files, ready, answering, over, typing, stop, remove, retry,
    form: { onSubmit: send }, field: { value: text, onChange, onKeyDown }, picker: { type: "file", multiple: true, onChange: picked },
  };
}

/** `{ text, form, field }` of other words for a message: Enter saves them, Escape leaves it. Where an agent answers they are
 * another version, which is answered; `onDone` comes when it is over. */
export function useEdit(session, message, { onDone = nothing, onError = nothing } = {}) {
  const [text, setText] = useState(message.content);
  function save(event) {
    event.preventDefault();
    const branch = session.getSnapshot().session?.agent_id != null;
    if (text.trim() && text !== message.content) session.edit(message.message_id, text, { branch }).catch(onError);
    onDone();
  }
  const onKeyDown = (event) => (isEnter(event) ? save(event) : event.key === "Escape" && onDone());
  return { text, form: { onSubmit: save }, field: { value: text, onChange: ({ target }) => setText(target.value), onKeyDown } };
}
