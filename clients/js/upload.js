// A file on its way: with `XMLHttpRequest` where there is one, since that alone tells how far it is.
import { asError } from "./errors.js";
import { answered } from "./rest.js";

/** Posts `file` (a `File` or `Blob`) to `url`; `progress(sent)` in bytes of it, where the network tells. */
export async function uploaded(network, url, token, file, name, progress) {
  const body = new FormData();
  body.append("post", "false");
  body.append("file", file, name);
  const Authorization = `Bearer ${token}`;
  if (!network.XMLHttpRequest) {
    const response = await network.fetch(url, { method: "POST", headers: { Authorization }, body });
    return answered(response.status, await response.text());
  }
  const request = new network.XMLHttpRequest();
  await new Promise((resolve, reject) => {
    request.open("POST", url);
    request.setRequestHeader("Authorization", Authorization);
    request.upload.onprogress = ({ loaded, total }) => progress(Math.round((file.size * loaded) / total) || 0);
    request.onload = resolve;
    request.onerror = () => reject(asError());
    request.send(body);
  });
  return answered(request.status, request.responseText);
}
