// What clients/js makes of snapshots and events: node merge.mjs, with examples of folds on stdin. One line of JSON out.
import { readFileSync } from "node:fs";
import * as merge from "../../clients/js/merge.js";

const said = (seq, more = {}) => ({
  message_id: `m${seq}`, seq, revision: seq, sender_type: "user", sender_id: "a", content: `text ${seq}`,
  status: "complete", metadata: {}, ...more,
});
const reply = (messages, more = {}) => ({
  session: { agent: { id: 1 } }, messages, has_more: false, last_seq: messages.at(-1)?.seq ?? 0,
  last_revision: Math.max(0, ...messages.map(({ revision }) => revision)),
  online: [], read_marks: {}, streams: [], turns: [], lineage: "l", ...more,
});
const start = (seq, more = {}) => ["stream_start", {
  message_id: `m${seq}`, seq, revision: seq, sender_type: "agent", sender_id: "1", metadata: {}, reply_to: null,
  timestamp: "t", ...more,
}];
const chunk = (seq, index, content) => ["stream_chunk", { message_id: `m${seq}`, index, count: 1, content }];
const end = (seq, revision, more = {}) => ["stream_end", {
  message_id: `m${seq}`, revision, status: "complete", tokens_used: null, latency_ms: null, ...more,
}];
const tell = (state, ...events) => events.reduce((before, [name, data]) => merge.event(before, name, data), state);
const joined = (...given) => merge.joined(merge.EMPTY, reply(...given), false);
const texts = ({ messages }) => messages.map(({ content }) => content);
const ids = ({ messages }) => messages.map(({ message_id }) => message_id).join(" ");
const answers = {};

let state = tell(joined([said(1), said(2)]), start(3), chunk(3, 0, "a"));
const { messages } = state;
state = tell(state, chunk(3, 1, "b"));
answers.shared = [state.messages[0] === messages[0], state.messages[2] === messages[2], texts(state)];
answers.repeated = tell(state, chunk(3, 1, "b")) === state;
state = tell(state, chunk(3, 5, "later"));
answers.hole = [state.holes, texts(state)[2]];
answers.holeAtTheEnd = tell(state, end(3, 9)).holes;
state = merge.refilled(state, "m3", { content: "abcde later", status: "streaming", next_index: 6 });
answers.refilled = [state.holes, texts(tell(state, chunk(3, 6, "!")))[2]];
answers.ended = tell(state, end(3, 9)).holes;

state = joined([said(1), said(2, { revision: 7 })]);
answers.late = texts(tell(state, ["message_updated", said(2, { revision: 6, content: "before" })]));
state = merge.joined(state, reply([said(1, { revision: 9, content: "after" })]), true);
answers.resumed = texts(state);
answers.reset = texts(merge.joined(state, reply([said(5)], { reset: true }), true));

// A page of changes, an event, the next page: what lies between is not taken for known.
state = merge.joined(state, reply([said(3, { revision: 10 })], { has_more: true, last_revision: 40 }), true);
state = tell(state, ["message", said(9, { revision: 41 })]);
answers.behind = [state.revision, state.behind];
state = merge.changed(state, reply([said(4, { revision: 40 })]));
answers.caughtUp = [state.revision, state.behind, ids(state)];

// Branches: behind m1 come m2 and m3.
const versions = { parent_id: "m1", siblings: ["m2", "m3"] };
const first = said(1, { parent_id: null });
state = merge.path(joined([said(1), said(2)]), reply([first, said(3, versions)]));
answers.path = ids(state);
state = tell(state, ["message", said(4, { parent_id: "m3" })]);
answers.follows = [ids(state), state.stale];
state = tell(state, ["message", said(5, { parent_id: "m2" })]);
answers.elsewhere = [ids(state), state.stale];
const back = reply([first, said(2, versions), said(5, { parent_id: "m2" })]);
answers.back = ids(merge.path(tell(state, ["message", said(6, { parent_id: "m5" })]), back));
const tombstone = said(2, { revision: 8, content: null, deleted_at: "t" });
answers.deletedVersion = tell(state, ["message_deleted", tombstone]).stale;
answers.moved = tell({ ...state, stale: false }, ["session", { event: "head", head_id: "m1" }]).stale;

// Turns are as they are told, whatever a page says that was read before.
const turn = { message_id: "m1", seq: 1, state: "running", when_busy: "queue" };
state = tell(joined([said(1)], { turns: [turn] }), start(2, { reply_to: "m1" }));
answers.answering = state.turns.map(({ answer_id }) => answer_id);
state = tell(state, end(2, 3, { content: "x" }));
answers.answered = [state.turns, merge.path(state, reply([said(1)], { turns: [turn] })).turns];

answers.folds = JSON.parse(readFileSync(0, "utf8")).map(({ events }) => {
  const told = events.map(([name, data], index) => [name, { message_id: "m1", index, count: 1, ...data }]);
  const { messages: [{ parts, content }] } = tell(joined([]), start(1), ...told);
  return { parts, content };
});
console.log(JSON.stringify(answers));
