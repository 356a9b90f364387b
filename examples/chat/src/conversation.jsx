// One session: who is there, what was said, and where one says something.
import { useRef, useState } from "react";
import { useAbout, useConnection, useMessages, usePresence } from "parley-react";
import { Composer } from "./composer.jsx";
import { Message } from "./message.jsx";
import { Button, Face, Icon, trying } from "./ui.jsx";
import { useWords } from "./words.js";

export function Conversation({ id, sought }) {
  const { t, day } = useWords();
  const { state, session, rows, readers, ref, atEnd, toEnd } = useMessages(id, { sought });
  const about = useAbout(id);
  const [editing, setEditing] = useState(null);
  const editLast = () => setEditing(rows.findLast(({ mine, message }) => mine && !message.deleted_at)?.key);
  return <section className="session" aria-label={about.title ?? t("messages")}>
    <Head id={id} about={about} me={state.me} />
    <Banner id={id} session={session} />
    <div className="scroller" ref={ref} tabIndex={0} role="log" aria-label={t("messages")} aria-live="off"><ol>
      {!about.details && !state.error && <li className="skeleton" aria-hidden="true"><i /><i /><i /></li>}
      {rows.map(({ key, sender, newDay, ...row }) => <Message key={key} id={key} {...row} name={sender.name}
        face={sender.avatar_url} day={newDay ? day(row.message.created_at) : ""} sought={key === sought}
        acts={session} may={about.may} asks={about.asks} outcome={state.outcomes[key]}
        editing={key === editing} onEdit={setEditing} />)}
      <li className="told">{readers.length > 0 && `${t("seen")} ${readers.map(({ name }) => name).join(", ")}`}</li>
    </ol></div>
    {!atEnd && <Button icon="end" className="to-end" label={t("end")} onClick={toEnd} />}
    {about.may ? <Composer id={id} about={about} onSent={toEnd} onEditLast={editLast} />
      : <p className="quiet">{t(state.connection === "ended" ? "ended" : "readOnly")}</p>}
  </section>;
}

/** Where the network has been away for a while, or somebody has to do something. */
function Banner({ id, session }) {
  const { t } = useWords();
  const { connection, error } = useConnection(id);
  if (connection === "offline") return <div className="banner" role="status">{t("offline")}</div>;
  if (connection !== "refused" && connection !== "ended") return null;
  const ended = connection === "ended";
  return <div className="banner" role="status">{ended ? t("ended") : error.message}
    <button onClick={() => trying(session.reopen())}>{t(ended ? "reopen" : "retry")}</button></div>;
}

function Head({ id, about, me }) {
  const { t } = useWords();
  const others = usePresence(id).online.filter(({ key }) => key !== me).slice(0, 5);
  const [asks, setAsks] = useState(null); // "title" or "invite"
  const menu = useRef(null);
  const pick = (act) => () => ((menu.current.open = false), act());
  const answer = (event) => {
    event.preventDefault();
    const said = event.target.elements.said.value.trim();
    if (said) trying(asks === "title" ? about.rename(said) : about.invite(said));
    setAsks(null);
  };
  return <header className="head">
    <a className="icon back" href="#" aria-label={t("back")}><Icon name="left" /></a>
    {asks ? <form onSubmit={answer} onKeyDown={({ key }) => key === "Escape" && setAsks(null)}>
      <input name="said" autoFocus defaultValue={asks === "title" ? about.title : ""} aria-label={t(asks)} />
      <button className="primary">{t("save")}</button></form> : <h1>{about.title ?? t("newChat")}</h1>}
    <ul className="faces" aria-label={t("online")}>{others.map(({ key, name, avatar_url, status }) =>
      <li key={key} title={t(status)}><Face name={name} address={avatar_url} status={status} />{name}</li>)}</ul>
    {about.owner && <details className="menu" ref={menu}>
      <summary className="icon" aria-label={t("menu")}><Icon name="more" /></summary>
      <div><button onClick={pick(() => setAsks("title"))}>{t("rename")}</button>
        <button onClick={pick(() => setAsks("invite"))}>{t("invite")}</button>
        <button onClick={pick(() => trying(about.archive()))}>{t("archive")}</button></div></details>}
  </header>;
}
