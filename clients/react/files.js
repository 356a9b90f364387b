"use client";
// Files on their way to a session, and where those that are there lie.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useParley } from "./provider.js";
import { useSession } from "./sessions.js";

/** Milliseconds before a signed address ends at which it is asked for again: the client gives a fresh one in the last 10 s. */
const EARLY = 9000;
const none = () => [];
const uploadsOf = ({ uploads }) => uploads;

/** What a composer has beside its text: `{ files, add, remove, retry, take }`.
 * - `files`: `[{ id, name, type, size, sent, status: "uploading" | "ready" | "failed", error, preview }]`; `preview` is an
 *   address of a picture, in this page
 * - `add(files)`: a `FileList`, as an input or a drop has it; each is uploaded at once
 * - `take()`: the parts of those that are ready, for `send({ parts })`; they are no longer among `files` */
export function useUpload(id) {
  const [uploads, session] = useSession(id, uploadsOf);
  const [files, setFiles] = useState(none);
  const latest = useRef(files);
  latest.current = files;
  const change = useCallback((key, fate) => setFiles((all) => all.map((each) => (each.id === key ? { ...each, ...fate } : each))), []);

  const acts = useMemo(() => {
    const start = (key, file) => {
      const going = session.upload(file, { post: false, name: file.name });
      change(key, { upload: session.getSnapshot().uploads.at(-1)?.id, status: "uploading", error: null });
      going.then(
        ({ file_id, file_info }) => change(key, { status: "ready", part: { type: "file", file_id, name: file_info.name, media_type: file_info.type } }),
        (error) => change(key, { status: "failed", error }),
      );
    };
    return {
      add(given) {
        const added = [...given].map((file) => ({
          id: String(++count), file, name: file.name, type: file.type, size: file.size, status: "uploading", error: null,
          preview: file.type.startsWith("image/") ? URL.createObjectURL(file) : null,
        }));
        setFiles((all) => [...all, ...added]);
        for (const { id: key, file } of added) start(key, file);
      },
      remove(key) {
        setFiles((all) => all.filter((each) => (each.id === key ? forgotten(each) : true)));
      },
      retry(key) {
        const failed = latest.current.find((each) => each.id === key && each.status === "failed");
        if (failed) start(key, failed.file);
      },
      take() {
        const ready = latest.current.filter(({ status }) => status === "ready");
        setFiles((all) => all.filter((each) => (each.status === "ready" ? forgotten(each) : true)));
        return ready.map(({ part }) => part);
      },
    };
  }, [session, change]);

  useEffect(() => () => setFiles((all) => (all.forEach(forgotten), [])), [session]);
  const shown = useMemo(() => files.map((each) => ({ ...each, sent: sentOf(each, uploads) })), [files, uploads]);
  return { files: shown, ...acts };
}

/** Files that are dropped or pasted anywhere in the page come to `add`; true while some are held over it. */
export function useDropped(add) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const acts = {
      dragover: () => setOver(true),
      dragleave: ({ relatedTarget }) => relatedTarget || setOver(false),
      drop: ({ dataTransfer }) => (setOver(false), add(dataTransfer.files)),
      paste: ({ clipboardData }) => add(clipboardData.files),
    };
    const come = (event) => {
      const { types } = event.dataTransfer ?? event.clipboardData;
      if (!types.includes("Files")) return; // text goes where it is dropped
      event.preventDefault();
      acts[event.type](event);
    };
    for (const name of Object.keys(acts)) addEventListener(name, come);
    return () => Object.keys(acts).forEach((name) => removeEventListener(name, come));
  }, [add]);
  return over;
}

let count = 0;

/** Bytes of it that are on their way. */
function sentOf({ status, size, upload }, uploads) {
  if (status === "ready") return size;
  return (status === "uploading" && uploads.find(({ id }) => id === upload)?.sent) || 0;
}

/** False, for filters: its picture needs no memory any more. */
function forgotten({ preview }) {
  if (preview) URL.revokeObjectURL(preview);
  return false;
}

/** Signed addresses of a file, `{ url, thumbnail_url }`, asked for again before they end; null until they are known. */
export function useFileUrl(file_id) {
  const parley = useParley();
  const [known, setKnown] = useState(null);
  useEffect(() => {
    if (!file_id) return;
    let timer, over = false;
    const ask = () =>
      parley.fileUrl(file_id).then(
        (answer) => {
          if (over) return;
          setKnown({ file_id, ...answer });
          timer = setTimeout(ask, Math.min(2 ** 31 - 1, Math.max(1000, Date.parse(answer.expires_at) - Date.now() - EARLY)));
        },
        (error) => over || setKnown({ file_id, error, url: null, thumbnail_url: null }),
      );
    ask();
    return () => ((over = true), clearTimeout(timer));
  }, [parley, file_id]);
  return known?.file_id === file_id ? known : null;
}
