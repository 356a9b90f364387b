// Where one writes: text, and files that are chosen, pasted or dropped.
import { useEffect, useRef } from "react";
import { useComposer } from "parley-react";
import { Button, Icon, say, trying } from "./ui.jsx";
import { useWords } from "./words.js";

export function Composer({ id, about, onSent, onEditLast }) {
  const { t } = useWords();
  const sent = (text) => {
    if (text && about.owner && !about.details.title) trying(about.rename(text.slice(0, 60)));
    onSent();
  };
  const writing = useComposer(id, { onSent: sent, onEditLast, onError: say });
  const { text, files, ready, answering, over, typing, form, field, stop } = writing;
  const names = typing.map(({ name }) => name).join(", ");
  const area = useRef(null), picker = useRef(null);
  useEffect(() => void (matchMedia("(hover: hover)").matches && area.current.focus()), []);
  return <form className="composer" {...form}>
    <p className="told" aria-live="polite">{names && `${names} ${t("typing")}`}</p>
    <div className="box" data-drop={over ? t("drop") : undefined}>
      {files.length > 0 && <ul className="files">{files.map(({ id, name, status, preview, sent, size, error }) =>
        <li key={id} data-status={status}>{preview ? <img src={preview} alt="" /> : <Icon name="file" />}
          <span>{error?.message ?? name}</span>
          {status === "uploading" && <progress value={sent} max={size} aria-label={name} />}
          {error && <Button icon="again" label={t("retry")} onClick={() => writing.retry(id)} />}
          <Button icon="close" label={`${t("remove")} ${name}`} onClick={() => writing.remove(id)} /></li>)}</ul>}
      <div className="grows" data-text={text}>
        <textarea ref={area} rows={1} placeholder={t("say")} aria-label={t("say")} {...field} /></div>
      <Button icon="clip" label={t("attach")} onClick={() => picker.current.click()} />
      <input ref={picker} hidden {...writing.picker} />
      {answering && !text ? <Button icon="stop" className="primary" label={t("stop")} onClick={stop} />
        : <Button icon="send" className="primary" type="submit" label={t("send")} disabled={!ready} />}
    </div>
  </form>;
}
