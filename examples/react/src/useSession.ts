// `useSession`: one Parley session in a component, over the official Socket.IO client.
import { useCallback, useEffect, useMemo, useReducer, useRef, useState } from "react";
import { io } from "socket.io-client";
import type { JoinReply, ParleySocket, Problem, Reply, SessionDetails } from "../../../clients/parley-events";
import { EMPTY, EVENT_NAMES, reduce, type Action, type Conversation } from "./conversation";

export interface Options {
  /** Where Parley is: http://127.0.0.1:8003. */
  url: string;
  /** A fresh token from your own backend. Asked at each connect, and when one is about to run out. */
  getToken: () => Promise<string>;
  /** The session to resume. Without one, or when it is no more, a new one is made. */
  sessionId?: string | null;
  /** Who answers in a new session. */
  agentId?: number;
  /** Told of the session's id, so that you can keep it. */
  onSession?: (sessionId: string) => void;
}

export type Status = "connecting" | "online" | "offline";
/** How the last reconnect went: nothing was missed, or it was fetched from the database. */
export type Recovery = "recovered" | "synced" | null;

export interface SessionState extends Conversation {
  status: Status;
  recovery: Recovery;
  error: Problem | null;
  session: SessionDetails | null;
  sessionId: string | null;
  send: (content: string) => Promise<void>;
  edit: (messageId: string, content: string) => Promise<void>;
  remove: (messageId: string) => Promise<void>;
  stop: (messageId: string) => Promise<void>;
  setTyping: (isTyping: boolean) => void;
  markRead: () => void;
  loadOlder: () => Promise<void>;
}

/** These mean that a session is no more: a new one takes its place. */
const GONE = ["SESSION_NOT_FOUND", "SESSION_EXPIRED", "SESSION_ARCHIVED"];

export function useSession({ url, getToken, sessionId: wanted = null, agentId, onSession }: Options): SessionState {
  const [conversation, dispatch] = useReducer(reduce, EMPTY);
  const [status, setStatus] = useState<Status>("connecting");
  const [recovery, setRecovery] = useState<Recovery>(null);
  const [error, setError] = useState<Problem | null>(null);
  const [session, setSession] = useState<SessionDetails | null>(null);
  const socket = useRef<ParleySocket | null>(null);
  const current = useRef<string | null>(wanted);
  const latest = useRef(conversation);
  const lineage = useRef<string | undefined>(undefined); // the history of the database that it is of
  latest.current = conversation;
  const callbacks = useRef({ getToken, onSession });
  callbacks.current = { getToken, onSession };

  useEffect(() => {
    let over = false;
    const line: ParleySocket = io(url, {
      auth: (give) => void callbacks.current.getToken().then((token) => give({ token })),
      // A command without an answer is repeated; its client_message_id keeps it single.
      ackTimeout: 10_000,
      retries: 3,
      // After a silent network a new connection; polling goes by a kept one, which may be dead.
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      timeout: 8000,
    });
    // In the back/forward cache nobody is here, but the browser would answer pings. Shown again, it comes back by
    // itself. (React Native has no such pages, and no such event.)
    const hidden = () => line.io.engine.close();
    globalThis.addEventListener?.("pagehide", hidden);
    socket.current = line;
    current.current = wanted;
    dispatch({ type: "reset" });
    setStatus("connecting");

    const create = async (): Promise<string> => {
      const token = await callbacks.current.getToken();
      const answer = await fetch(`${url}/api/chat/sessions`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
        body: JSON.stringify(agentId === undefined ? {} : { agent_id: agentId }),
      });
      const made = await answer.json();
      if (!answer.ok) throw made.error;
      return made.session_id;
    };

    const join = async (): Promise<void> => {
      const known = current.current !== null && latest.current.lastRevision > 0;
      if (current.current === null) {
        current.current = await create();
        callbacks.current.onSession?.(current.current);
      }
      const after = known ? { after_revision: latest.current.lastRevision, lineage: lineage.current, limit: 500 } : {};
      // The snapshot is taken in as it comes: after an `await` it might be later than what comes behind it.
      const reply = await new Promise<Reply<JoinReply>>((resolve, reject) =>
        line.timeout(10_000).emit("join", { session_id: current.current!, ...after }, (failure, answer) => {
          if (failure) return reject(failure);
          if (answer.ok && !over) dispatch({ type: "snapshot", reply: answer, resumed: known && !answer.reset });
          resolve(answer);
        }),
      );
      if (over) return;
      if (!reply.ok) {
        if (!GONE.includes(reply.error.code)) throw reply.error;
        current.current = null;
        dispatch({ type: "reset" });
        latest.current = EMPTY;
        return join();
      }
      lineage.current = reply.lineage;
      setSession(reply.session);
      let more: boolean = known && !reply.reset && reply.has_more;
      let seen = reply.messages.at(-1)?.revision ?? 0;
      while (more && !over) {
        const page = await line.emitWithAck("history", { session_id: current.current, after_revision: seen, limit: 500 });
        if (!page.ok) throw page.error;
        dispatch({ type: "older", messages: page.messages, hasOlder: latest.current.hasOlder });
        seen = page.messages.at(-1)?.revision ?? seen;
        more = page.has_more;
      }
      setRecovery(known ? "synced" : null);
    };

    const enter = async (): Promise<void> => {
      try {
        // `recovered`: what was missed has come already, in order; there is nothing to ask for.
        if (line.recovered) setRecovery("recovered");
        else await join();
        if (!over) {
          setError(null);
          setStatus("online");
        }
      } catch (problem) {
        if (!over) setError(asProblem(problem));
      }
    };

    line.on("connect", () => void enter());
    line.on("disconnect", () => setStatus("offline"));
    let again: ReturnType<typeof setTimeout> | undefined;
    line.on("connect_error", (problem) => {
      const told = asProblem((problem as Error & { data?: unknown }).data ?? problem);
      setStatus("offline");
      setError(told);
      // What passes by itself the client tries again by itself; `auth` asks for a new token.
      if (told.code === "TOKEN_EXPIRED") again = setTimeout(() => line.connect(), 1000);
    });
    line.on("error", (problem) => setError(problem));
    line.on("auth_expiring", () => {
      void callbacks.current.getToken().then((token) => line.emitWithAck("auth_refresh", { token }));
    });
    line.on("session", (event) => {
      if (event.session_id !== current.current) return;
      if (event.event === "archived" || event.event === "expired" || event.event === "removed") {
        current.current = null;
        latest.current = EMPTY;
        dispatch({ type: "reset" });
        setStatus("connecting");
        void enter();
      } else if (event.event === "reset") {
        // The database went back: the reply says so, and is shown instead of what is here.
        void join().catch((problem) => !over && setError(asProblem(problem)));
      }
    });
    for (const name of EVENT_NAMES) {
      line.on(name, (payload: { session_id: string }) => {
        if (payload.session_id === current.current) dispatch({ type: name, payload } as Action);
      });
    }
    return () => {
      over = true;
      clearTimeout(again);
      globalThis.removeEventListener?.("pagehide", hidden);
      line.disconnect();
      socket.current = null;
    };
  }, [url, wanted, agentId]);

  const actions = useMemo(() => {
    const here = (): { line: ParleySocket; session_id: string } => {
      if (!socket.current || !current.current) throw asProblem(new Error("not connected yet"));
      return { line: socket.current, session_id: current.current };
    };
    return {
      async send(content: string) {
        const { line, session_id } = here();
        const client_message_id = crypto.getRandomValues(new Uint32Array(4)).join("-");
        unwrap(await line.emitWithAck("message", { session_id, content, client_message_id }));
      },
      async edit(message_id: string, content: string) {
        const { line, session_id } = here();
        unwrap(await line.emitWithAck("edit", { session_id, message_id, content }));
      },
      async remove(message_id: string) {
        const { line, session_id } = here();
        unwrap(await line.emitWithAck("delete", { session_id, message_id }));
      },
      async stop(message_id: string) {
        const { line, session_id } = here();
        unwrap(await line.emitWithAck("stream_cancel", { session_id, message_id }));
      },
      setTyping(is_typing: boolean) {
        if (socket.current?.connected && current.current) {
          socket.current.volatile.emit("typing", { session_id: current.current, is_typing });
        }
      },
      markRead() {
        const seq = latest.current.messages.at(-1)?.seq;
        if (seq && socket.current && current.current) {
          socket.current.emit("read", { session_id: current.current, seq });
        }
      },
    };
  }, []);

  const loadOlder = useCallback(async () => {
    const first = latest.current.messages[0]?.seq;
    if (!socket.current || !current.current || !first || !latest.current.hasOlder) return;
    const page = unwrap(
      await socket.current.emitWithAck("history", { session_id: current.current, before_seq: first, limit: 50 }),
    );
    dispatch({ type: "older", messages: page.messages, hasOlder: page.has_more });
  }, []);

  return {
    ...conversation, status, recovery, error, session, sessionId: session?.session_id ?? current.current, ...actions,
    loadOlder,
  };
}

function unwrap<T>(reply: Reply<T>): { ok: true } & T {
  if (!reply.ok) throw reply.error;
  return reply;
}

function asProblem(problem: unknown): Problem {
  if (typeof problem === "object" && problem !== null && "code" in problem) return problem as Problem;
  return { code: "UNAVAILABLE", message: String((problem as Error)?.message ?? problem), retryable: true };
}

