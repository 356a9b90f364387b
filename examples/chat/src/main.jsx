// A chat: the list of sessions, and the one that is open. The page's address says which.
import { StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { ParleyProvider, useAgents, useAway, useParley, useSessions } from "parley-react";
import { Conversation } from "./conversation.jsx";
import { Sidebar } from "./sidebar.jsx";
import { Face, Notice, trying, useKept, usePlace } from "./ui.jsx";
import { Language, useWords } from "./words.js";

const given = new URLSearchParams(location.search);
/** The server has this page beside its others; one that stands elsewhere is told where it is: `?parley=…`. */
const url = given.get("parley") ?? new URL("..", document.baseURI).href;

/** In real life your backend signs tokens; a server with DEBUG gives them to anybody on its machine. */
async function tokenOf(sub) {
  const body = JSON.stringify({ sub, name: sub });
  const reply = await fetch(new URL("api/dev/token", url), { method: "POST", body });
  if (!reply.ok) throw new Error((await reply.json()).error.message);
  return (await reply.json()).token;
}

function App() {
  const [kept, setUser] = useKept("user", "");
  const [language, setLanguage] = useKept("language", navigator.language.startsWith("ko") ? "ko" : "en");
  const [theme, setTheme] = useKept("theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const user = given.get("user") ?? kept;
  useEffect(() => void Object.assign(document.documentElement, { lang: language }), [language]);
  useEffect(() => void (document.documentElement.dataset.theme = theme), [theme]);
  const turn = { theme: () => setTheme(theme === "dark" ? "light" : "dark"), leave: () => setUser(""),
    language: () => setLanguage(language === "ko" ? "en" : "ko") };
  return <Language.Provider value={language}>
    {user ? <ParleyProvider key={user} url={url} getToken={() => tokenOf(user)}>
      <Chat me={user} turn={turn} /></ParleyProvider> : <Welcome onName={setUser} />}
  </Language.Provider>;
}

function Welcome({ onName }) {
  const { t } = useWords();
  const enter = (event) => (event.preventDefault(), onName(event.target.elements.name.value.trim()));
  return <main className="middle"><form onSubmit={enter}>
    <h1>Parley</h1><p>{t("any")}</p>
    <label>{t("name")}<input name="name" autoFocus required pattern=".*\S.*" maxLength={60} /></label>
    <button className="primary">{t("enter")}</button>
  </form></main>;
}

function Chat({ me, turn }) {
  const { id, sought } = usePlace();
  const [unread] = useSessions(({ sessions }) => sessions.reduce((sum, each) => sum + each.unread_count, 0));
  useAway();
  useEffect(() => void (document.title = `${unread ? `(${unread}) ` : ""}Parley Chat`), [unread]);
  return <div className="chat" data-open={id ? "session" : "list"}>
    <Sidebar me={me} open={id} turn={turn} />
    <main>{id ? <Conversation key={id} id={id} sought={sought} /> : <Start />}</main>
    <Notice />
  </div>;
}

/** Nothing is open: whom one may ask. */
function Start() {
  const { t } = useWords();
  const parley = useParley();
  const { agents, error } = useAgents();
  const begin = async (agent_id, said) => {
    const { session_id } = await parley.sessions.create({ agent_id });
    if (said) parley.session(session_id).send(said);
    location.hash = session_id;
  };
  return <section className="middle"><div><h1>{t("hello")}</h1>
    <ul className="agents">{agents?.map(({ id, name, avatar_url }) => <li key={id}>
      <button onClick={() => trying(begin(id))}><Face name={name} address={avatar_url} />{name}</button></li>)}</ul>
    {error && <p className="quiet">{error.message}</p>}
    {agents && <button className="quiet" onClick={() => trying(begin(1, "/parts"))}>{t("parts")}</button>}
  </div></section>;
}

createRoot(document.getElementById("root")).render(<StrictMode><App /></StrictMode>);
