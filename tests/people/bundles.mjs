// Packets in bundles: what comes within a tenth of a second is handled in one go, as if one read had brought it.
import { webcrypto } from "node:crypto";
import { Manager } from "socket.io-client";

globalThis.crypto ??= webcrypto;  // a page has it; Node 18 does not

export function bundle() {
  const { ondata } = Manager.prototype;
  let came = [];
  Manager.prototype.ondata = function (data) { came.push([this, data]); };
  setInterval(() => {
    const now = came;
    came = [];
    for (const [manager, data] of now) ondata.call(manager, data);
  }, 100).unref();
}
