// Which questions are open, and which ended without an answer. Pure; `turns` are in the order of `seq`.

/** Those that ended without an answer. */
export function ended(state, unanswered) {
  const told = unanswered.map(({ message_id, outcome }) => [message_id, outcome]);
  return told.length ? { ...state, outcomes: { ...state.outcomes, ...Object.fromEntries(told) } } : state;
}

/** A `turn` event. That an answer has begun is true whichever of the two is told first. */
export function told(state, { timestamp, session_id, outcome, ...turn }, seq) {
  const known = state.turns.find(({ message_id }) => message_id === turn.message_id);
  if (turn.state === "done") return done(state, turn.message_id, outcome);
  if (known?.answer_id && turn.state === "queued") return state;
  return opened(state, { seq: seq ?? Infinity, ...known, ...turn });
}

/** An answer to a question begins. */
export function begun(state, message_id, answer_id, seq) {
  const known = state.turns.find((turn) => turn.message_id === message_id);
  const { [message_id]: _, ...outcomes } = state.outcomes;
  return opened({ ...state, outcomes }, { seq: seq ?? Infinity, ...known, message_id, state: "running", answer_id });
}

/** The end of an answer is the end of its turns, unless it waits for people. */
export function answered(state, answer_id, status) {
  if (!state.turns.some((turn) => turn.answer_id === answer_id)) return state;
  const waits = status === "waiting";
  const turns = state.turns
    .map((turn) => (waits && turn.answer_id === answer_id ? { ...turn, state: status } : turn))
    .filter((turn) => waits || turn.answer_id !== answer_id);
  return { ...state, turns };
}

export function done(state, message_id, outcome) {
  const open = state.turns.some((turn) => turn.message_id === message_id);
  if (open) state = { ...state, turns: state.turns.filter((turn) => turn.message_id !== message_id) };
  return outcome ? ended(state, [{ message_id, outcome }]) : state;
}

function opened(state, turn) {
  const others = state.turns.filter(({ message_id }) => message_id !== turn.message_id);
  return { ...state, turns: [...others, turn].sort((one, other) => one.seq - other.seq) };
}
