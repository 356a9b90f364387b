// The page: who is here, which session is shown, what is remembered over a refresh.
import { claims, developmentToken } from "./api.js";
import { $, notice } from "./dom.js";
import { Inspector } from "./inspector.js";
import { markdown } from "./markdown.js";
import { Pane } from "./pane.js";
import { Person, socketIo } from "./person.js";
import { SessionList } from "./sessions.js";

const KEY = "parley-playground";

class App {
  constructor() {
    this.inspector = new Inspector();
    this.panes = [];
    this.current = null;
    this.transports = ["socketio", "websocket", "sse"];
    this.sessions = new SessionList(this);
    this.memory = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
  }

  async start() {
    this._theme();
    this._tabs();
    $("#second").addEventListener("click", () => this._second());
    const [io, reads] = await Promise.all([socketIo(), markdown()]);
    if (!io) {
      this.transports.shift();
      notice("The Socket.IO client is not here (make run fetches it). The raw WebSocket and SSE work.", "error");
    }
    if (!reads) notice("What shows Markdown is not here (make run fetches it). Answers are shown as they were written.", "error");
    const people = await this._who();
    for (const { token, transport } of people) this._add(token, transport);
    await this.sessions.of(this.panes[0].person, this._people());
    await this.sessions.agents();
    const wanted = this.memory.session ?? this.sessions.sessions[0]?.session_id;
    if (wanted) await this.open(wanted);
    else await this.sessions.create($("#agent").value);
    addEventListener("popstate", () => {
      const session = new URLSearchParams(location.hash.slice(1)).get("session");
      if (session && session !== this.current) this._show(session);
    });
    if (matchMedia("(min-width: 760px)").matches) this.panes[0].focus();
    document.body.dataset.ready = "true";
  }

  /** The people with their tokens: from the address, from before a refresh, or by asking. */
  async _who() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    const given = fragment.get("token");
    if (fragment.get("session")) this.memory.session = fragment.get("session");
    // A token does not stay in the address bar, where it would be copied and sent along.
    if (location.hash) history.replaceState(null, "", this._address(this.memory.session));
    const kept = (this.memory.people ?? []).filter(({ token }) => alive(token));
    if (given && alive(given)) {
      return [{ token: given }, ...kept.slice(1).filter(({ token }) => claims(token).sub !== claims(given).sub)];
    }
    if (kept.length) return kept;
    return [{ token: await this._ask() }];
  }

  /** Ask for a name until the server gives a token for it. */
  _ask(title, text) {
    const dialog = $("#enter");
    if (title) $("#enter-title").textContent = title;
    if (text) $("#enter-name").value = text;
    $("#enter-problem").textContent = "";
    dialog.showModal();
    $("#enter-name").select();
    return new Promise((resolve, reject) => {
      const form = $("#enter-form");
      const controller = new AbortController();
      const { signal } = controller;
      form.addEventListener("submit", async (event) => {
        event.preventDefault();
        try {
          const token = await developmentToken($("#enter-name").value.trim());
          controller.abort();
          dialog.close();
          resolve(token);
        } catch (error) {
          $("#enter-problem").textContent = error.message;
        }
      }, { signal });
      dialog.addEventListener("cancel", (event) => {
        if (!this.panes.length) return event.preventDefault();
        controller.abort();
        reject(new DOMException("nobody", "AbortError"));
      }, { signal });
    });
  }

  _people() {
    return this.panes.map((pane) => pane.person);
  }

  _add(token, transport) {
    if (!this.transports.includes(transport)) [transport] = this.transports;
    const person = new Person(token, (who, ...frame) => this.inspector.add(who, ...frame), transport);
    const pane = new Pane(person, this);
    this.panes.push(pane);
    $("#people").append(pane.element);
    this._two();
    this.remember();
    return pane;
  }

  _two() {
    document.body.classList.toggle("two", this.panes.length > 1);
    $("#second").hidden = this.panes.length > 1;
  }

  async _second() {
    const first = this.panes[0].person;
    let token;
    try {
      token = await this._ask("Who else is here?", first.sub === "bob" ? "alice" : "bob");
    } catch {
      return;
    }
    const pane = this._add(token);
    if (this.current) await this._into(pane, this.current);
    await this.sessions.of(first, this._people());
    pane.focus();
  }

  /** A second person is made a member by the first, if that one may. */
  async _into(pane, sessionId) {
    const first = this.panes[0].person;
    if (pane.person !== first && pane.person.sub !== first.sub) {
      const path = `/api/chat/sessions/${encodeURIComponent(sessionId)}/participants/${encodeURIComponent(pane.person.sub)}`;
      try {
        await first.rest("PUT", path, { body: { role: "member" } });
      } catch (error) {
        if (!["FORBIDDEN", "SESSION_NOT_FOUND"].includes(error.code)) notice(error.message, "error");
      }
    }
    await pane.person.enter(sessionId);
  }

  // --- what panes and lists ask for

  _address(sessionId) {
    return sessionId ? `#session=${encodeURIComponent(sessionId)}` : location.pathname;
  }

  async open(sessionId, message) {
    // Each session has its address, and the way back leads to the one before.
    if (this.current && this.current !== sessionId) history.pushState(null, "", this._address(sessionId));
    else history.replaceState(null, "", this._address(sessionId));
    await this._show(sessionId, message);
  }

  async _show(sessionId, { seq, message_id: messageId } = {}) {
    this.current = sessionId;
    this.remember();
    this.sessions.draw();
    this._tab("chat");
    for (const pane of this.panes) await this._into(pane, sessionId);
    if (seq) {
      const [pane] = this.panes;
      await pane.room.until((room) => room.session);
      await pane.list.goTo(seq);
      if (pane.list.items.has(messageId)) return;
      await pane.list.actions.select(messageId); // on another branch
      await pane.list.goTo(seq);
    }
  }

  closed(pane) {
    this.panes = this.panes.filter((each) => each !== pane);
    pane.close();
    if (!this.panes.length) {
      sessionStorage.removeItem(KEY);
      location.reload();
      return;
    }
    this._two();
    this.remember();
    this.sessions.of(this.panes[0].person, this._people());
  }

  sessionEvent(person, data) {
    const told = { added: `you were added to ${data.title || "a session"}`, removed: "you are no longer in this session", archived: "session archived", expired: "session expired", reset: "the server has older data now" }[data.event];
    if (told && [undefined, person.sub].includes(data.user_id)) notice(`${person.name}: ${told}`);
  }

  /** It has another client, by another door. */
  reopened(person) {
    if (person === this.sessions.person) this.sessions.of(person, this._people());
    this.remember();
  }

  isWriting(sessionId) {
    return this.panes.some(({ room }) => room?.sessionId === sessionId && room.writing);
  }

  remember() {
    const people = this.panes.map(({ person }) => ({ token: person.token, transport: person.transport }));
    sessionStorage.setItem(KEY, JSON.stringify({ people, session: this.current ?? this.memory.session }));
  }

  // --- the page

  _theme() {
    const root = document.documentElement;
    root.dataset.theme = localStorage.getItem("parley-theme") ?? "";
    $("#theme").addEventListener("click", () => {
      const dark = getComputedStyle(root).colorScheme === "dark" || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("parley-theme", root.dataset.theme);
    });
  }

  _tabs() {
    for (const button of document.querySelectorAll(".tabs button")) {
      button.addEventListener("click", () => this._tab(button.dataset.tab));
    }
    document.addEventListener("visibilitychange", () => {
      const status = document.visibilityState === "visible" ? "online" : "away";
      for (const { person } of this.panes) {
        if (person.status === "online") person.parley.presence(status).catch(() => {});
      }
    });
  }

  _tab(name) {
    document.body.dataset.tab = name;
    for (const button of document.querySelectorAll(".tabs button")) {
      if (button.dataset.tab === name) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }
}

function alive(token) {
  try {
    return claims(token).exp * 1000 > Date.now() + 60000;
  } catch {
    return false;
  }
}

const app = new App();
globalThis.playground = app; // for the console: playground.panes[0].room.store.send("…")
app.start().catch((error) => notice(error.message, "error"));
