// REST, and the token that every door wants. Knows no session.
import { ParleyError, asError, closed } from "./errors.js";
import { keyOf } from "./merge.js";

/** Milliseconds in which a call is answered: the server itself waits up to 10 s for a database that is away. */
const ANSWERED = 15000;
const ROLES = { agent: "agent", service: "system" };

/** The key of whom a token is for (docs/protocol.md, section 1). */
function whose(token) {
  const text = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
  const { sub, role } = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  return keyOf({ sender_type: ROLES[role] ?? "user", sender_id: sub });
}

export class Rest {
  #getToken;
  #token = null;
  #me;
  #calls = new Set(); // what ends each that is under way; null: closed

  /** `url` may have a path: the service's. `network` has `fetch` and what else the doors need. */
  constructor(url, getToken, network) {
    this.network = network;
    this.url = new URL(url);
    this.base = this.url.origin + this.url.pathname.replace(/\/$/, "");
    this.#getToken = getToken;
  }

  close() {
    for (const controller of this.#calls) controller.abort();
    this.#calls = null;
  }

  /** The last one, or a `fresh` one. Many that ask at once are given the same. */
  token(fresh = false) {
    if (fresh || !this.#token) {
      const asked = Promise.resolve().then(this.#getToken).then((token) => this.#ours(token));
      this.#token = asked;
      asked.catch(() => this.#token === asked && (this.#token = null));
    }
    return this.#token;
  }

  /** Who the token says one is. */
  async me() {
    return whose(await this.token());
  }

  /** What waits to be sent is one user's: where another has signed in meanwhile, in whatever tab, it stays. */
  #ours(token) {
    let me;
    try {
      me = whose(token);
    } catch {
      return token; // `me` says so
    }
    if (me !== (this.#me ??= me)) throw new ParleyError({ code: "UNAUTHORIZED", message: "Another user" });
    return token;
  }

  /** The answer; a `ParleyError` for anything else. */
  call(method, path, body) {
    return this.authorized((token) => this.#call(method, path, body, token));
  }

  /** `act(token)`, and once more where that had expired. */
  async authorized(act) {
    for (let fresh = false; ; fresh = true) {
      try {
        const token = await this.token(fresh);
        if (!this.#calls) throw closed();
        return await act(token);
      } catch (thrown) {
        const error = asError(thrown);
        if (error.code !== "TOKEN_EXPIRED" || fresh) throw error;
      }
    }
  }

  async #call(method, path, body, token) {
    const headers = { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) };
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), ANSWERED);
    this.#calls.add(controller);
    try {
      const { signal } = controller;
      const response = await this.network.fetch(this.base + path, { method, headers, signal, body: JSON.stringify(body) });
      return answered(response.status, await response.text());
    } finally {
      clearTimeout(timer);
      this.#calls?.delete(controller);
    }
  }
}

/** The JSON of an answer, or its error. What is not ours, as a proxy's 502, passes by itself. */
export function answered(status, text) {
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = {};
  }
  if (status >= 200 && status < 300) return answer;
  const unknown = { code: "UNAVAILABLE", message: `HTTP ${status}`, retryable: status >= 500 || status === 429 };
  throw new ParleyError(answer.error ?? unknown);
}

/** A list of what is there as a query. */
export function query(given) {
  const said = Object.entries(given).filter(([, value]) => value != null);
  return said.length ? `?${new URLSearchParams(said)}` : "";
}

export const pathOf = (session_id) => `/api/chat/sessions/${encodeURIComponent(session_id)}`;
