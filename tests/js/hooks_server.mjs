// What a server renders of hooks_app.mjs, on a machine that no token may be asked for: node hooks_server.mjs SESSION
import { createElement as h, StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { createParley } from "parley-client";
import { ParleyProvider } from "parley-react";
import { NO_SESSION, NO_SESSIONS } from "./node_modules/parley-react/state.js";
import { App } from "./hooks_app.mjs";

const getToken = () => {
  throw new Error("it was asked for a token");
};
const parley = createParley({ url: "http://localhost", getToken });
const states = [parley.session("").getSnapshot(), parley.sessions.getSnapshot()];
const first = [NO_SESSION, NO_SESSIONS];
states.forEach((state, at) => {
  for (const name of new Set([...Object.keys(state), ...Object.keys(first[at])])) {
    if (JSON.stringify(state[name]) !== JSON.stringify(first[at][name])) throw new Error(`a store begins with another ${name}`);
  }
});
const error = console.error;
console.error = (...said) => {
  error(...said);
  process.exitCode = 1;
};
console.log(renderToString(h(StrictMode, null, h(ParleyProvider, { getToken }, h(App, { id: process.argv[2] })))));
