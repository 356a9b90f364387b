// One message: what it is made of, what it asks, and what one can do with it.
import { memo } from "react";
import { askOf, useEdit, useFileUrl, versionsOf } from "parley-react";
import { Markdown } from "parley-react/markdown";
import { Button, Face, Icon, say, trying } from "./ui.jsx";
import { useWords } from "./words.js";

export const Message = memo(function Message({ id, message, name, face, mine, first, day, sought, ...more }) {
  const { t, time } = useWords();
  const { acts, may, outcome, editing, onEdit } = more;
  const { seq, status, parts, doing, error, deleted_at, created_at, sender_type } = message;
  const growing = status === "streaming", fate = outcome ?? status;
  const fates = { cancelled: t("cancelled"), interrupted: t("interrupted"), failed: error?.message ?? t("failed") };
  const told = seq ? fates[fate] : { waiting: t("waiting"), failed: error?.message }[status];
  const who = mine ? "mine" : sender_type;
  return <li data-key={id} className={`message ${who}`} data-status={status} data-sought={sought || undefined}>
    {day && <p className="day">{day}</p>}
    <article aria-label={name}>
      {first && !mine && <p className="by"><Face name={name} address={face} /><b>{name}</b>
        <time>{time(created_at)}</time></p>}
      {deleted_at ? <p className="quiet">{t("deleted")}</p>
        : editing ? <Edit message={message} acts={acts} onDone={() => onEdit(null)} />
          : <div className="body">
            {parts.map((part, at) =>
              <Part key={part.id} part={part} growing={growing && at === parts.length - 1} from={sender_type} />)}
            {growing && (doing || !parts.length) && <p className="doing">{doing?.detail ?? t("thinking")}</p>}
            <Sources parts={parts} /></div>}
      {message.interrupts?.map((ask) => <Ask key={ask.id} interrupt={ask} message={message} acts={acts} may={may} />)}
      {told && <p className="told" data-fate={fate}>{told} {!seq && status === "failed" && <>
        <button onClick={() => acts.retry(id)}>{t("retry")}</button>
        <button onClick={() => acts.discard(id)}>{t("remove")}</button></>}</p>}
      {!deleted_at && !editing && <Actions message={message} mine={mine} {...more} />}
    </article>
  </li>;
});

/** Their place is kept while the message is written. */
function Actions({ message, mine, acts, may, asks, onEdit }) {
  const { t } = useWords();
  const { message_id, seq, content, status, sender_type, feedback } = message;
  if (!seq || status === "streaming") return <div className="actions" />;
  const { number, count, older, newer } = versionsOf(message);
  const think = (value) => () => trying(acts.feedback(message_id, feedback?.value === value ? null : value));
  const copy = () => trying(navigator.clipboard.writeText(content));
  return <div className="actions">
    {count > 1 && <>
      <Button icon="left" label={t("older")} disabled={!older} onClick={() => trying(acts.select(older))} />
      <span>{number}/{count}</span>
      <Button icon="right" label={t("newer")} disabled={!newer} onClick={() => trying(acts.select(newer))} /></>}
    <Button icon="copy" label={t("copy")} onClick={copy} />
    {mine && may && content && <Button icon="edit" label={t("edit")} onClick={() => onEdit(message_id)} />}
    {sender_type === "agent" && <>
      {may && asks && <Button icon="again" label={t("again")} onClick={() => trying(acts.regenerate(message_id))} />}
      <Button icon="up" label={t("good")} aria-pressed={feedback?.value === "up"} onClick={think("up")} />
      <Button icon="down" label={t("bad")} aria-pressed={feedback?.value === "down"} onClick={think("down")} /></>}
  </div>;
}

function Edit({ message, acts, onDone }) {
  const { t } = useWords();
  const { text, form, field } = useEdit(acts, message, { onDone, onError: say });
  return <form className="edit" {...form}>
    <div className="grows" data-text={text}><textarea autoFocus aria-label={t("edit")} {...field} /></div>
    <button type="button" onClick={onDone}>{t("cancel")}</button><button className="primary">{t("save")}</button>
  </form>;
}

function Part({ part, growing, from }) {
  const { t } = useWords();
  const { type, text, name, state, input = part.input_text, output = part.error } = part;
  switch (type) {
    case "text":
      return from === "agent" ? <Markdown text={text} growing={growing} code={Code} /> : <p dir="auto">{text}</p>;
    case "reasoning": return <Aside title={t(growing ? "thinking" : "thought")} busy={growing}><p>{text}</p></Aside>;
    case "tool":
      return <Aside icon title={part.title ?? name} busy={/^input/.test(state)} state={state}>
        <Json label={t("input")} value={input} /><Json label={t("output")} value={output} /></Aside>;
    case "data": return <Aside title={name}><Json label={name} value={part.data} /></Aside>;
    case "file": return <File part={part} />;
    default: return null;
  }
}

const Aside = ({ title, icon, busy, state, children }) => <details className="aside" data-state={state}>
  <summary data-busy={busy || undefined}>{icon && <Icon name="tool" />}{title}</summary>{children}</details>;

const Json = ({ label, value }) => value !== undefined && <><b>{label}</b>
  <pre tabIndex={0} aria-label={label}>{typeof value === "string" ? value : JSON.stringify(value, null, 2)}</pre></>;

function Code({ text, language }) {
  const { t } = useWords();
  return <figure><figcaption>{language}
    <Button icon="copy" label={t("copy")} onClick={() => trying(navigator.clipboard.writeText(text))} /></figcaption>
  <pre tabIndex={0}><code>{text}</code></pre></figure>;
}

function File({ part: { file_id, url, name = url, media_type = "" } }) {
  const signed = useFileUrl(file_id);
  const picture = file_id && media_type.startsWith("image/");
  const href = file_id ? signed?.url : /^https?:/.test(url) ? url : undefined;
  return <a className={picture ? "picture" : "file"} href={href} target="_blank" rel="noopener noreferrer">
    {picture ? <img src={signed?.thumbnail_url ?? signed?.url} alt={name} /> : <><Icon name="file" />{name}</>}</a>;
}

function Sources({ parts }) {
  const { t } = useWords();
  const sources = parts.filter(({ type, url }) => type === "source" && /^https?:/.test(url));
  return sources[0] && <ul className="sources" aria-label={t("sources")}>{sources.map(({ id, url, title = url }) =>
    <li key={id}><a href={url} target="_blank" rel="noopener noreferrer">{title}</a></li>)}</ul>;
}

/** What an answer waits for. */
function Ask({ interrupt, message, acts, may }) {
  const { t } = useWords();
  const { fields, approves, answer } = askOf(interrupt);
  const { id, reason, message: question = reason, answer: given } = interrupt;
  const fate = t(given?.status === "resolved" ? "resolved" : "cancelled");
  if (given || message.status !== "waiting") return <p className="told">{question} · {fate}</p>;
  const give = (yes, form) => trying(acts.answer(message.message_id, id, answer(yes, new FormData(form))));
  const agree = (event) => (event.preventDefault(), give(true, event.target));
  return <form className="ask" onSubmit={agree}>
    <p>{question}</p>
    {fields.map(({ name, label, type, choices }) => <label key={name}>{label || t("answer")}
      {choices ? <select name={name}>{choices.map((each) => <option key={each}>{each}</option>)}</select>
        : <input name={name} type={type} step="any" />}</label>)}
    {may && <div><button className="primary">{t(approves ? "approve" : "answer")}</button>
      <button type="button" onClick={({ target }) => give(false, target.form)}>{t("deny")}</button></div>}
  </form>;
}
