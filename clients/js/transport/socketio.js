// Socket.IO: one connection for all sessions, recovered by the official client; past its window sessions join after
// their revision.
import { io } from "socket.io-client";
import { asError, unwrap } from "../errors.js";

/** Milliseconds in which a command is answered, and a join. */
const ANSWERED = 12000;
/** Milliseconds until another try, where the server has not said when; of a token that has expired, at most. */
const AGAIN = 1000, RENEWED = 30000;

/** `on.event(name, data)`, `on.connection(word, error)`; sessions are told what `Session` can be told. */
export function socketio(rest, on) {
  const sessions = new Map(); // id -> session, entered
  const here = new Set(); // ids whose join was answered on a connection that goes on
  let last = null; // the error that the server told before it ended the connection
  let wait = AGAIN;
  let closed = false;
  let asked = 0;

  const socket = (rest.network.io ?? io)(rest.url.origin, {
    path: `${rest.url.pathname.replace(/\/$/, "")}/socket.io/`,
    auth: (give) => rest.token(asked++ > 0).then((token) => give({ token }), tokenless),
    // A new connection first: a kept one may be dead, and says so late. Where no WebSocket comes through, polling.
    transports: ["websocket", "polling"], tryAllTransports: true, timeout: 8000,
    reconnectionDelay: 300, reconnectionDelayMax: 5000, forceNew: true,
  });
  // In the back/forward cache nobody is here, but the browser would answer pings. Shown again, it comes back by itself.
  const hidden = () => socket.io.engine?.close();
  globalThis.addEventListener?.("pagehide", hidden);

  function told(word, error) {
    on.connection(word, error);
    if (word !== "online") for (const session of sessions.values()) session.connection(word, error);
  }

  function tokenless(error) {
    told("offline", asError(error));
    socket.io.engine?.close(); // the next connect asks again
  }

  function again(ms) {
    setTimeout(() => !closed && socket.connect(), ms);
  }

  socket.on("connect", () => {
    last = null;
    wait = AGAIN;
    if (!socket.recovered) here.clear();
    on.connection("online");
    for (const session of sessions.values()) {
      if (here.has(session.id)) session.recovered();
      else join(session);
    }
  });
  socket.on("disconnect", () => {
    if (closed) return;
    told("offline", last);
    if (!socket.active) again(AGAIN); // the server ended it: with a fresh token it may take us again
  });
  socket.on("connect_error", (failure) => {
    if (closed) return;
    if (socket.active) return told("offline", asError()); // it comes back by itself
    const error = asError(failure.data ?? failure);
    if (error.code !== "TOKEN_EXPIRED" && !error.retryable) return told("refused", error);
    told("offline", error);
    again(error.retry_after ?? wait);
    wait = Math.min(RENEWED, wait * 2);
  });
  socket.onAny((name, data) => {
    if (name === "error" && !data.command) last = asError(data);
    else on.event(name, data, name !== "session" && !here.has(data.session_id));
  });

  /** The reply is taken in as it comes: after an `await` it might be later than what comes behind it. */
  function join(session) {
    if (!socket.connected) return;
    const cursor = session.cursor();
    socket.timeout(ANSWERED).emit("join", { session_id: session.id, ...cursor }, (failure, reply) => {
      if (sessions.get(session.id) !== session) return;
      if (failure) return socket.connected && join(session); // else the next connection asks
      if (!reply.ok) return refused(session, asError(reply.error));
      here.add(session.id);
      session.snapshot(reply, "after_revision" in cursor);
    });
  }

  function refused(session, error) {
    if (!error.retryable) return session.refused(error);
    session.connection("offline", error);
    setTimeout(() => sessions.get(session.id) === session && !here.has(session.id) && join(session), error.retry_after ?? AGAIN);
  }

  /** Before a command; gives up after `ms`. */
  function connected(ms) {
    if (socket.connected) return;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => (socket.off("connect", come), reject(asError())), ms);
      const come = () => (clearTimeout(timer), resolve());
      socket.once("connect", come);
    });
  }

  return {
    enter(session) {
      sessions.set(session.id, session);
      here.delete(session.id);
      join(session);
    },
    leave({ id }) {
      here.delete(id);
      if (sessions.delete(id) && socket.connected) socket.emit("leave", { session_id: id }); // also where the join is under way
    },
    async call(name, payload, ms) {
      await connected(ms);
      const line = name === "typing" ? socket.volatile : socket;
      return line.timeout(ANSWERED).emitWithAck(name, payload).catch((error) => ({ error })).then(unwrap);
    },
    refresh: (token) => socket.emit("auth_refresh", { token }),
    reconnect: () => socket.active || socket.connect(),
    close() {
      closed = true;
      globalThis.removeEventListener?.("pagehide", hidden);
      socket.disconnect();
    },
  };
}
