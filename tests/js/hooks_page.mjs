// hooks_app.mjs in a browser, where a server has rendered it: ?html=…&session=…&parley=…&token=…
import { createElement as h, StrictMode } from "react";
import { hydrateRoot } from "react-dom/client";
import { ParleyProvider } from "parley-react";
import { App } from "./hooks_app.mjs";

const given = Object.fromEntries(new URLSearchParams(location.search));
window.said = [];
for (const name of ["error", "warn"]) console[name] = (...words) => window.said.push(words.join(" "));
window.asked = 0;
const getToken = () => (window.asked++, given.token);
const element = document.getElementById("root");
element.innerHTML = given.html;
const root = hydrateRoot(element, h(StrictMode, null, h(ParleyProvider, { url: given.parley, getToken }, h(App, { id: given.session }))));
window.leave = () => root.unmount();
