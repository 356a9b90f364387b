// What everything else is made of: icons, faces, notices, what the browser remembers.
import { useEffect, useState, useSyncExternalStore } from "react";

const PATHS = {
  plus: "M12 5v14M5 12h14", search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm9 16-4-4", left: "M14 6l-6 6 6 6",
  send: "M12 19V5m-6 6 6-6 6 6", stop: "M8 8h8v8H8z", right: "M10 6l6 6-6 6", close: "M6 6l12 12M18 6L6 18",
  clip: "M20 11l-8 8a5 5 0 0 1-7-7l8-8a3 3 0 0 1 5 5l-8 8", copy: "M9 9h10v11H9zM5 15V4h10",
  again: "M4 11a8 8 0 0 1 14-5l2 2m0-4v4h-4m4 5a8 8 0 0 1-14 5l-2-2m0 4v-4h4", edit: "M4 20l1-4L16 5l3 3L8 19z",
  up: "M7 21H4V10h3m0 11V10l4-7c3 0 3 2 2 6h6l-2 12z", down: "M17 3h3v11h-3m0-11v11l-4 7c-3 0-3-2-2-6H5L7 3z",
  end: "M12 5v14m-6-6 6 6 6-6", file: "M6 3h8l4 4v14H6zM14 3v4h4", more: "M6 12h.01M12 12h.01M18 12h.01",
  moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z", out: "M10 4H5v16h5m4-4 4-4-4-4m4 4H9",
  globe: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM3 12h18M12 3v18", tool: "M4 20l9-9m-1-3 4-4 4 4-4 4z",
};

export const Icon = ({ name }) => <svg viewBox="0 0 24 24" aria-hidden="true"><path d={PATHS[name]} /></svg>;

export const Button = ({ icon, label, className = "", ...more }) =>
  <button type="button" className={`icon ${className}`} aria-label={label} title={label} {...more}>
    <Icon name={icon} /></button>;

/** Somebody's picture, or the first letter of the name on a colour of its own. */
export function Face({ name = "", address, status }) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  return <span className="face" data-status={status} style={{ "--hue": hue }} aria-hidden="true">
    {address ? <img src={address} alt="" /> : [...name.trim()][0]?.toUpperCase()}</span>;
}

export function useKept(name, first) {
  const [value, setValue] = useState(() => localStorage.getItem(`chat.${name}`) ?? first);
  useEffect(() => localStorage.setItem(`chat.${name}`, value), [name, value]);
  return [value, setValue];
}

/** Where one is, `#SESSION` or `#SESSION/MESSAGE`: the browser's Back leads to where one was. */
export function usePlace() {
  const [id, sought] = useSyncExternalStore(listen, () => location.hash).slice(1).split("/").map(decodeURIComponent);
  return { id: id || null, sought };
}

const listen = (told) => (addEventListener("hashchange", told), () => removeEventListener("hashchange", told));

let show = () => {};
export const say = (error) => show(error.message);
/** What a promise fails with is shown. */
export const trying = (promise) => promise.catch(say);

export function Notice() {
  const [text, setText] = useState("");
  useEffect(() => {
    show = setText;
    const timer = setTimeout(setText, 8000, "");
    return () => clearTimeout(timer);
  }, [text]);
  return <p className="notice" role="alert">{text}</p>;
}
