"use client";
// One session, the list of them, and who is there.
import { useEffect, useMemo, useRef, useState } from "react";
import { useParley } from "./provider.js";
import { named, NO_SESSION, NO_SESSIONS, NOTHING } from "./state.js";
import { useStore } from "./store.js";

/** Milliseconds without a look at the page after which one is away. */
const AWAY = 60000;
/** Milliseconds without a network that nobody needs to know of. */
const GRACE = 1500;

/** `[state, session]`: what is shown, and what one does (`session.send(…)`). With `select` the first is `select(state)`,
 * and only another selection renders. Without an id: the empty state, and null. */
export function useSession(id, select) {
  const parley = useParley();
  const session = id == null ? null : parley.session(id);
  const first = useMemo(() => ({ ...NO_SESSION, id: id ?? "" }), [id]);
  return [useStore(session, select, first), session];
}

/** `[state, list]`: the sessions, and `list.create(…)`, `list.loadMore()`, and so on. */
export function useSessions(select) {
  const { sessions } = useParley();
  return [useStore(sessions, select, NO_SESSIONS), sessions];
}

/** `{ connection, error, reconnect }`, of a session or, without an id, of the page. What is mended within `grace`
 * milliseconds is not told. */
export function useConnection(id, grace = GRACE) {
  const parley = useParley();
  const told = useStore(id == null ? parley.sessions : parley.session(id), connectionOf, NOTHING);
  const away = told.connection === "offline";
  const before = useRef(told);
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!away) before.current = told;
  }, [away, told]);
  useEffect(() => {
    if (!away) return setLate(false);
    const timer = setTimeout(() => setLate(true), grace);
    return () => clearTimeout(timer);
  }, [away, grace]);
  const shown = away && !late ? before.current : told;
  return useMemo(() => ({ ...shown, reconnect: parley.reconnect }), [shown, parley]);
}

const connectionOf = ({ connection, error }) => ({ connection, error });

/** `[who types beside oneself, type]`: call `type()` at each key. */
export function useTyping(id) {
  const [{ me, typing, users, session: details }, session] = useSession(id, whoTypes);
  const people = useMemo(
    () => typing.filter((key) => key !== me).map((key) => named(key, users, details)),
    [typing, me, users, details],
  );
  return [people, session?.typing ?? nothing];
}

const nothing = () => {};
const whoTypes = ({ me, typing, users, session }) => ({ me, typing, users, session });

/** `{ online: [{ key, name, avatar_url, status }], count }`, oneself included; of very many only `count` is known. */
export function usePresence(id) {
  const [{ online, onlineCount, users, session }] = useSession(id, whoIsThere);
  return useMemo(() => {
    const people = Object.entries(online).map(([key, status]) => ({ ...named(key, users, session), status }));
    return { online: people, count: onlineCount ?? people.length };
  }, [online, onlineCount, users, session]);
}

const whoIsThere = ({ online, onlineCount, users, session }) => ({ online, onlineCount, users, session });

/** One is away while nobody looks at the page for `after` milliseconds. */
export function useAway(after = AWAY) {
  const parley = useParley();
  useEffect(() => {
    let timer, away = false;
    const say = (status) => parley.presence(status).catch(nothing);
    const look = () => {
      clearTimeout(timer);
      if (document.hidden) timer = setTimeout(() => ((away = true), say("away")), after);
      else if (away) (away = false), say("online");
    };
    document.addEventListener("visibilitychange", look);
    return () => (clearTimeout(timer), document.removeEventListener("visibilitychange", look));
  }, [parley, after]);
}

/** What is shown has been read, while somebody looks at the page; `enabled`: and at its end. */
export function useReading(id, enabled = true) {
  const [{ newest, connection }, session] = useSession(id, newestOf);
  useEffect(() => {
    if (!session || !enabled) return;
    const look = () => document.hidden || session.markRead();
    look();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, [session, enabled, newest, connection]);
}

const newestOf = ({ messages, connection }) => ({ newest: messages.at(-1)?.seq, connection });
