// The list of sessions of one person, search in them, and new ones.
import { $, avatar, h, notice, time } from "./dom.js";
import { told } from "./failures.js";

export class SessionList {
  /** `owner.open(sessionId, message?)` shows one. */
  constructor(owner) {
    this.owner = owner;
    this.person = null;
    this.people = [];
    this.list = $("#session-list");
    this.found = $("#found");
    $("#create").addEventListener("submit", (event) => {
      event.preventDefault();
      this.create($("#agent").value);
    });
    $("#search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.search();
    });
    $("#query").addEventListener("input", () => {
      clearTimeout(this.asking);
      this.asking = setTimeout(() => this.search(), 250);
    });
  }

  /** Whose list it is; with two people a choice of both. */
  of(person, people) {
    this.person = person;
    this.people = people;
    const whose = $("#whose");
    whose.hidden = people.length < 2;
    whose.replaceChildren(
      ...people.map((each) =>
        h("button", { type: "button", "aria-pressed": String(each === person), onclick: () => this.of(each, people) }, avatar({ id: each.sub, name: each.name }), each.name),
      ),
    );
    this.end?.();
    this.store = person.parley.sessions;
    this.end = this.store.subscribe(() => this.draw());
    return this._try(() => this.store.refresh());
  }

  get sessions() {
    return this.store.getSnapshot().sessions;
  }

  async _try(action) {
    try {
      return await action();
    } catch (error) {
      notice(told(error), "error");
      return null;
    }
  }

  draw() {
    const current = this.owner.current;
    const at = this.list.contains(document.activeElement) && document.activeElement.dataset.id;
    this.list.replaceChildren(
      ...this.sessions.map((session) => {
        const title = session.title || session.agent_name || "Untitled";
        const unread = session.session_id === current ? 0 : session.unread_count;
        return h(
          "li",
          {},
          h(
            "button.session",
            {
              type: "button", dataset: { id: session.session_id }, "aria-current": session.session_id === current ? "true" : undefined,
              onclick: () => this.owner.open(session.session_id),
            },
            avatar({ id: title }, session.agent_id ? "agent" : "session"),
            h("span.session-text", {}, h("strong", {}, title), h("span", {}, this._preview(session))),
            h(
              "span.session-side",
              {},
              h("time", {}, time(session.last_message_at ?? session.created_at)),
              unread ? h("b.badge", { "aria-label": `${unread} unread` }, String(unread)) : null,
              session.status === "active" ? null : h("em", {}, session.status),
            ),
          ),
        );
      }),
    );
    if (at) this.list.querySelector(`[data-id="${CSS.escape(at)}"]`)?.focus();
    if (this.store.getSnapshot().hasMore) {
      this.list.append(h("li", {}, h("button.button.small", { type: "button", onclick: () => this._try(() => this.store.loadMore()) }, "More sessions")));
    }
    if (!this.sessions.length) this.list.append(h("li.empty", {}, "No sessions yet"));
  }

  _preview({ session_id, last_message, last_message_at }) {
    if (last_message) return last_message;
    if (!last_message_at) return "No messages yet";
    return this.owner.isWriting(session_id) ? "…" : "A message without text";
  }

  async agents() {
    try {
      const { agents } = await this.person.rest("GET", "/api/chat/agents");
      const select = $("#agent");
      select.replaceChildren(
        ...agents.map((agent) => h("option", { value: agent.id }, agent.name)),
        h("option", { value: "" }, "No agent"),
      );
      const model = agents.find(({ kind }) => kind === "openai"); // answers better than Echo
      if (model) select.value = model.id;
    } catch (error) {
      notice(error.message, "error");
    }
  }

  async create(agentId) {
    const names = ["Harbour", "Orchard", "Lantern", "Meadow", "Atlas", "Juniper", "Pebble", "Comet", "Willow", "Ember"];
    const title = `${names[Math.floor(Math.random() * names.length)]} ${Math.floor(Math.random() * 90 + 10)}`;
    const given = { title, metadata: { made_by: "playground" }, ...(agentId && { agent_id: Number(agentId) }) };
    const session = await this._try(() => this.store.create(given));
    if (session) await this.owner.open(session.session_id);
  }

  async search() {
    const query = $("#query").value.trim();
    this.found.hidden = !query;
    this.list.hidden = Boolean(query);
    if (!query) return;
    try {
      const answer = await this.person.parley.search(query, { limit: 20 });
      if (query !== $("#query").value.trim()) return;
      const hits = answer.results;
      this.found.replaceChildren(
        h("p.found-count", { role: "status" }, hits.length ? `${hits.length}${answer.has_more ? "+" : ""} found` : "Nothing found"),
        ...hits.map((hit) => this._hit(hit)),
      );
    } catch (error) {
      this.found.replaceChildren(h("p.problem", {}, error.message));
    }
  }

  _hit(hit) {
    const where = hit.kind === "message" && hit.session_title ? ` in ${hit.session_title}` : "";
    const who = hit.kind === "session" ? "Session" : hit.sender_name ?? hit.sender_id;
    return h(
      "button.hit",
      { type: "button", onclick: () => this.owner.open(hit.session_id, hit) },
      h("span.hit-meta", {}, h("strong", {}, who), where, " ", time(hit.created_at)),
      h("span.snippet", {}, ...marked(hit.snippet)),
    );
  }
}

/** A snippet's `<mark>…</mark>` as elements, all else as text. */
function marked(snippet) {
  return snippet.split(/<mark>(.*?)<\/mark>/gs).map((part, index) => {
    const text = part.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&#x27;", "'").replaceAll("&#39;", "'").replaceAll("&amp;", "&");
    return index % 2 ? h("mark", {}, text) : text;
  });
}
