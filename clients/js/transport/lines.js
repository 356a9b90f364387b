// What the raw WebSocket and the event stream share: a connection for each session, which is opened again and goes on
// from its last position. What has no connection of its own goes by REST.
import { asError } from "../errors.js";
import { pathOf, query } from "../rest.js";

/** Milliseconds until another try: doubled each time, up to the second. */
const AGAIN = [300, 5000];
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** `make(session)`: { run({ position, token, query, heard }) → why it ended, call?, end }. */
export function lines(rest, on, make) {
  const open = new Map(); // id -> Line
  let last; // word
  const hidden = () => open.forEach((line) => line.door.end());
  globalThis.addEventListener?.("pagehide", hidden); // opened again when the page is shown

  /** The word for all lines together, where that has changed; `error`: why none is let in. */
  function told(error) {
    const words = [...open.values()].map(({ session }) => session.getSnapshot().connection);
    const word = error ? "refused" : words.includes("online") || !words.length ? "online" : words[0];
    if (word !== last) on.connection((last = word), error);
  }

  async function keep(line) {
    const { session, door } = line;
    let pause = AGAIN[0];
    let fresh = false;
    while (open.get(session.id) === line) {
      const cursor = line.position ? session.cursor() : {};
      const heard = (name, data, position) => {
        if (open.get(session.id) !== line) return;
        if (position) line.position = position;
        if (name !== "welcome") return on.event(name, data);
        [pause, fresh] = [AGAIN[0], false];
        if (data.recovered) session.recovered();
        else session.snapshot(data, "after_revision" in cursor);
        told();
      };
      const error = await rest.token(fresh)
        .then((token) => open.get(session.id) === line && door.run({ position: line.position, token, heard, query: (more) => query({ ...more, ...cursor }) }))
        .catch(asError);
      if (open.get(session.id) !== line) return;
      fresh = error?.code === "TOKEN_EXPIRED";
      if (error && !error.retryable && !fresh) {
        open.delete(session.id);
        session.refused(error);
        return told(error.code === "UNAUTHORIZED" ? error : null);
      }
      session.connection("offline", error);
      told();
      await wait(error?.retry_after ?? pause);
      pause = Math.min(AGAIN[1], pause * 2);
    }
  }

  function end({ id }) {
    const line = open.get(id);
    open.delete(id);
    line?.door.end();
  }

  function enter(session) {
    end(session);
    const line = { session, door: make(session), position: null };
    open.set(session.id, line);
    keep(line);
  }

  function call(name, { session_id, ...body }) {
    const door = open.get(session_id)?.door;
    if (door?.call) return door.call(name, body);
    return rest.call("POST", `${pathOf(session_id)}/${name === "message" ? "messages" : name}`, body);
  }

  told(); // for what goes by REST
  return {
    enter,
    leave: end,
    async call(name, payload) {
      if (name !== "presence") return call(name, payload);
      await Promise.all([...open.keys()].map((session_id) => call(name, { session_id, ...payload })));
    },
    refresh: (token) => open.forEach(({ door }) => door.call?.("auth_refresh", { token }).catch(() => {})),
    reconnect: told,
    close() {
      globalThis.removeEventListener?.("pagehide", hidden);
      for (const { session } of [...open.values()]) end(session);
    },
  };
}
