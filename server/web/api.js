// REST: one function, with what it sends and gets shown to the inspector. Knows no DOM.

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

/** `tap(direction, label, text)` sees what goes out and comes in. */
export async function rest(method, path, { token, body, form, headers = {}, tap = () => {} } = {}) {
  const init = { method, headers: { ...headers } };
  if (token) init.headers.Authorization = `Bearer ${token}`;
  if (form) init.body = form;
  else if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  tap("out", `${method} ${path}`, form ? "multipart/form-data" : (init.body ?? ""));
  const response = await fetch(ROOT + path, init);
  const text = await response.text();
  tap("in", `${response.status} ${method} ${path}`, text);
  let answer = {};
  try {
    answer = text ? JSON.parse(text) : {};
  } catch {
    answer = {};
  }
  if (!response.ok) throw new ApiError(answer.error, response.status);
  return answer;
}

export async function developmentToken(sub) {
  return (await rest("POST", "/api/dev/token", { body: { sub, name: sub } })).token;
}

/** What a token claims. Its signature is the server's to check. */
export function claims(token) {
  const text = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
}
