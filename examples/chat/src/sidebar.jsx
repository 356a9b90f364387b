// The list of sessions, and what was said in them by its words.
import { useState } from "react";
import { marksOf, useConnection, useSearch, useSessions } from "parley-react";
import { Button, Face, Icon, trying } from "./ui.jsx";
import { useWords } from "./words.js";

export function Sidebar({ me, open, turn }) {
  const { t } = useWords();
  const [words, setWords] = useState("");
  return <aside className="side">
    <header><b>Parley</b>
      <a className="icon" href="#" aria-label={t("newChat")} title={t("newChat")}><Icon name="plus" /></a></header>
    <label className="search"><Icon name="search" />
      <input type="search" accessKey="k" value={words} placeholder={t("search")} aria-label={t("search")}
        onChange={({ target }) => setWords(target.value)} /></label>
    {words.trim() ? <Found words={words} onGo={() => setWords("")} /> : <List open={open} />}
    <footer><Face name={me} /><span>{me}</span>
      <Button icon="moon" label={t("theme")} onClick={turn.theme} />
      <Button icon="globe" label={t("language")} onClick={turn.language} />
      <Button icon="out" label={t("leave")} onClick={turn.leave} /></footer>
  </aside>;
}

function Line({ name, title, when, text, current, unread, ...more }) {
  const { t, time } = useWords();
  return <li><a aria-current={current ? "page" : undefined} {...more}>
    <Face name={name || "#"} /><b>{title || t("newChat")}</b>
    <time>{when && time(when)}</time><span>{text || "…"}</span>
    {unread > 0 && !current && <em aria-label={`${unread} ${t("unread")}`}>{unread}</em>}</a></li>;
}

function List({ open }) {
  const { t } = useWords();
  const [{ sessions, hasMore, connection }, list] = useSessions();
  const { error, reconnect } = useConnection();
  const loading = connection === "connecting" && !sessions.length;
  return <nav className="lines" aria-label={t("chats")} aria-busy={loading}>
    {connection === "refused" && <p className="quiet" role="alert">{error?.message}
      <button onClick={() => trying(reconnect())}>{t("retry")}</button></p>}
    {loading && <p className="skeleton"><i /><i /><i /><i /></p>}
    {!loading && !sessions.length && <p className="quiet">{t("none")}</p>}
    <ul>{sessions.map(({ session_id: id, title, agent_name, last_message, last_message_at, unread_count }) =>
      <Line key={id} href={`#${id}`} name={agent_name ?? title} title={title || agent_name} when={last_message_at}
        text={last_message} current={id === open} unread={unread_count} />)}</ul>
    {hasMore && <button className="quiet" onClick={() => trying(list.loadMore())}>{t("more")}</button>}
  </nav>;
}

function Found({ words, onGo }) {
  const { t } = useWords();
  const { results, hasMore, searching, error, loadMore } = useSearch(words);
  const marked = (hit) => marksOf(hit).map(({ text, marked }, at) => (marked ? <mark key={at}>{text}</mark> : text));
  return <nav className="lines" aria-label={t("found")} aria-busy={searching}>
    {!results.length && <p className="quiet">{error?.message ?? (searching ? "…" : t("nothing"))}</p>}
    <ul>{results.map((hit, at) => <Line key={at} href={`#${hit.session_id}/${hit.message_id ?? ""}`} onClick={onGo}
      name={hit.sender_name} title={hit.session_title} when={hit.created_at} text={marked(hit)} />)}</ul>
    {hasMore && <button className="quiet" onClick={loadMore}>{t("more")}</button>}
  </nav>;
}
