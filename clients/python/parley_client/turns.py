"""Which questions are open, and which ended without an answer. Pure; `turns` are in the order of `seq`."""

import math
from collections.abc import Sequence
from dataclasses import replace

from parley_client.errors import Json
from parley_client.known import Known, by_seq


def listed(state: Known, reply: Json) -> Known:
    """As `join` and `history` tell them: all that are open, and those of the page that ended without an
    answer."""
    turns = reply["turns"]
    still = {turn["message_id"] for turn in turns}
    ended = [each for each in reply.get("unanswered", ()) if each["message_id"] not in still]
    return unanswered_in(replace(state, turns=tuple(turns)), ended)


def unanswered_in(state: Known, unanswered: Sequence[Json]) -> Known:
    if not unanswered:
        return state
    told = {each["message_id"]: each["outcome"] for each in unanswered}
    return replace(state, outcomes={**state.outcomes, **told})


def told(state: Known, data: Json, seq: int | None) -> Known:
    """A `turn` event. That an answer has begun is true whichever of the two is told first."""
    turn = {name: value for name, value in data.items() if name not in ("timestamp", "session_id", "outcome")}
    known = _turn(state, turn["message_id"])
    if turn["state"] == "done":
        return done(state, turn["message_id"], data.get("outcome"))
    if known and known.get("answer_id") and turn["state"] == "queued":
        return state
    return _opened(state, {"seq": math.inf if seq is None else seq, **(known or {}), **turn})


def begun(state: Known, message_id: str, answer_id: str, seq: int | None) -> Known:
    """An answer to a question begins."""
    outcomes = {key: value for key, value in state.outcomes.items() if key != message_id}
    turn = {"seq": math.inf if seq is None else seq, **(_turn(state, message_id) or {})}
    more = {"message_id": message_id, "state": "running", "answer_id": answer_id}
    return _opened(replace(state, outcomes=outcomes), {**turn, **more})


def answered(state: Known, answer_id: str, status: str) -> Known:
    """The end of an answer is the end of its turns, unless it waits for people."""
    if all(turn.get("answer_id") != answer_id for turn in state.turns):
        return state
    if status == "waiting":
        mine = [
            {**turn, "state": status} if turn.get("answer_id") == answer_id else turn for turn in state.turns
        ]
        return replace(state, turns=tuple(mine))
    return replace(state, turns=tuple(turn for turn in state.turns if turn.get("answer_id") != answer_id))


def done(state: Known, message_id: str, outcome: str | None = None) -> Known:
    if _turn(state, message_id):
        state = replace(state, turns=tuple(turn for turn in state.turns if turn["message_id"] != message_id))
    return unanswered_in(state, [{"message_id": message_id, "outcome": outcome}]) if outcome else state


def _turn(state: Known, message_id: str) -> Json | None:
    return next((turn for turn in state.turns if turn["message_id"] == message_id), None)


def _opened(state: Known, turn: Json) -> Known:
    others = [each for each in state.turns if each["message_id"] != turn["message_id"]]
    return replace(state, turns=tuple(sorted([*others, turn], key=by_seq)))
