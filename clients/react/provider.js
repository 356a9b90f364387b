"use client";
// Which client a page has.
import { createContext, createElement, useContext, useEffect, useRef, useState } from "react";
import { createParley } from "parley-client";

const Client = createContext(null);

/** Either with a `client`, which is yours to close, or with the options of `createParley`: `url`, `getToken`, …; the
 * client lives as long as this does then. Another user or another server is another one: `<ParleyProvider key={user} …>`. */
export function ParleyProvider({ client, children, ...options }) {
  const given = useRef(options);
  const [made] = useState(() => (client ? null : created(given)));
  useEffect(() => {
    given.current = options;
  });
  const closing = useRef();
  useEffect(() => {
    clearTimeout(closing.current);
    // StrictMode ends every effect once and begins it again: a client would be closed for good.
    return () => (closing.current = setTimeout(() => made?.close()));
  }, [made]);
  return createElement(Client.Provider, { value: client ?? made }, children);
}

/** Connects to nothing by itself: on a server, which has no origin, it is only looked at. */
function created(given) {
  const { url = globalThis.location?.origin ?? "http://localhost" } = given.current;
  return createParley({ ...given.current, url, getToken: () => given.current.getToken() });
}

/** The client: `parley.session(id)`, `parley.search(q)`, and so on. */
export function useParley() {
  const parley = useContext(Client);
  if (!parley) throw new Error("useParley: there is no <ParleyProvider> around this component");
  return parley;
}
