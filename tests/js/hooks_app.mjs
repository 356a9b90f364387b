// A page on every hook of clients/react, for a server and for a browser.
import { createElement as h, useState } from "react";
import {
  isAnswering, readersOf, useAway, useConnection, useFileUrl, useLongList, usePresence, useReading, useSearch, useSession,
  useSessions, useTyping, useUpload,
} from "parley-react";

const idOf = (message) => message.message_id ?? message.client_message_id;

export function App({ id }) {
  const [{ messages, pending, hasOlder, ...state }, session] = useSession(id);
  const [titles, list] = useSessions(({ sessions }) => sessions.map(({ title, unread_count }) => `${title} (${unread_count})`));
  const [typing, type] = useTyping(id);
  const { online, count } = usePresence(id);
  const { connection } = useConnection(id);
  const { files, add, take } = useUpload(id);
  const [words, setWords] = useState("");
  const { results } = useSearch(words);
  const file = messages.flatMap(({ parts }) => parts).find((part) => part.type === "file");
  const address = useFileUrl(file?.file_id);
  const { ref, shown } = useLongList([...messages, ...pending], { keyOf: idOf, hasOlder, loadOlder: session.loadOlder });
  useReading(id);
  useAway();
  const newest = messages.at(-1);
  const say = (event) => {
    event.preventDefault();
    session.send({ parts: [...take(), { type: "text", text: event.target.elements.text.value }] });
    event.target.reset();
  };
  return h("main", null,
    h("p", { id: "state" }, `${connection} · ${online.map(({ name }) => name).join(" ")} · ${count}`),
    h("p", { id: "typing" }, typing.map(({ name }) => `${name} types`)),
    h("p", { id: "titles" }, titles.join(", ")),
    h("div", { ref }, h("ol", null, shown.map((each) =>
      h("li", { key: idOf(each), "data-key": idOf(each), className: each.status }, each.content)))),
    h("p", { id: "answering" }, isAnswering({ messages, ...state }) ? "answering" : "quiet"),
    h("p", { id: "readers" }, newest ? readersOf({ messages, ...state }, newest).map(({ key }) => key) : ""),
    h("p", { id: "files" }, files.map(({ name, status, sent }) => `${name} ${status} ${sent}`)),
    h("p", { id: "address" }, address?.url ? "there is an address" : "no address"),
    h("form", { onSubmit: say },
      h("input", { name: "text", role: "textbox", "aria-label": "Message", onChange: () => type() }),
      h("input", { type: "file", "aria-label": "File", onChange: (event) => add(event.target.files) })),
    h("button", { onClick: () => list.update(id, { title: "renamed" }) }, "Rename"),
    h("button", { onClick: () => setWords("hello") }, "Search"),
    h("p", { id: "found" }, `${results.length} found`));
}
