// REST for what the client has no method of. Knows no DOM.

/** The path below which the service is, without a slash at its end: this module is at `/web/api.js` there. */
export const ROOT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

export class ApiError extends Error {
  constructor(error, status) {
    super(error?.message ?? `HTTP ${status}`);
    this.code = error?.code;
    this.status = status;
    this.error = error;
  }
}

/** `network.fetch` is what it goes by. */
export async function rest(method, path, { token, body, network = globalThis } = {}) {
  const init = { method, headers: {} };
  if (token) init.headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  const response = await network.fetch(ROOT + path, init);
  const text = await response.text();
  let answer = {};
  try {
    answer = text ? JSON.parse(text) : {};
  } catch {
    answer = {};
  }
  if (!response.ok) throw new ApiError(answer.error, response.status);
  return answer;
}

export async function developmentToken(sub, name = sub, avatar_url) {
  return (await rest("POST", "/api/dev/token", { body: { sub, name, avatar_url } })).token;
}

/** What a token claims. Its signature is the server's to check. */
export function claims(token) {
  const text = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
}
