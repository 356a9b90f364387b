"use client";
// What a session is, who may do what in it, and whom one may ask.
import { useEffect, useMemo, useState } from "react";
import { useParley } from "./provider.js";
import { useSession } from "./sessions.js";

const aboutOf = ({ session, connection }) => ({ details: session, ended: connection === "ended" });

/** `{ details, title, owner, may, asks, rename, invite, archive }`: `owner`: it is one's own; `may`: one may say something;
 * `asks`: an agent answers. The last three are promises, and their owner's; `invite(user, role = "member")`. */
export function useAbout(id) {
  const parley = useParley();
  const [{ details, ended }] = useSession(id, aboutOf);
  const acts = useMemo(() => {
    const path = `/api/chat/sessions/${encodeURIComponent(id)}/participants/`;
    return {
      rename: (title) => parley.sessions.update(id, { title }),
      invite: (user, role = "member") => parley.rest.call("PUT", path + encodeURIComponent(user), { role }),
      archive: () => parley.sessions.archive(id),
    };
  }, [parley, id]);
  const { role = null, agent = null, title = null } = details ?? {};
  return { details, title: title || agent?.name || null, owner: role === "owner", may: role !== "viewer" && !ended, asks: Boolean(agent), ...acts };
}

/** `{ agents: [{ id, name, avatar_url }], error }`: whom one may ask; null until it is known. */
export function useAgents() {
  const parley = useParley();
  const [known, setKnown] = useState({ agents: null, error: null });
  useEffect(() => {
    let over = false;
    parley.rest.call("GET", "/api/chat/agents").then(
      ({ agents }) => over || setKnown({ agents, error: null }),
      (error) => over || setKnown({ agents: null, error }),
    );
    return () => {
      over = true;
    };
  }, [parley]);
  return known;
}
