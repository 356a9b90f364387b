// A file on its way: with progress where the runtime tells it.
import { asError } from "./errors.js";
import { answered } from "./rest.js";

/** Posts `file` (a `File` or `Blob`) to `url`; `progress(sent)` in bytes of it. */
export function uploaded(url, token, file, name, progress) {
  const form = new FormData();
  form.append("post", "false");
  form.append("file", file, name);
  const headers = { Authorization: `Bearer ${token}` };
  return globalThis.XMLHttpRequest ? byRequest(url, headers, form, file.size, progress) : byFetch(url, headers, form);
}

async function byFetch(url, headers, body) {
  const response = await fetch(url, { method: "POST", headers, body });
  return answered(response.status, await response.text());
}

function byRequest(url, headers, form, size, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => progress(total ? Math.round((size * loaded) / total) : 0);
    request.onload = () => {
      try {
        resolve(answered(request.status, request.responseText));
      } catch (error) {
        reject(error);
      }
    };
    request.onerror = request.onabort = () => reject(asError());
    request.send(form);
  });
}
