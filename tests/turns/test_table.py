"""Each line of the table of states in docs/turns.md has a test that carries it out."""

import re
from importlib import import_module
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "turns.md"
ONE, STEERING, RACES = "test_one_at_a_time", "test_steering", "test_races"
WAITING, WAITING_NODES = "test_waiting", "test_waiting_nodes"
TAKING_ON = "test_taking_on"
NODES, STORED, BRANCHES = "test_two_nodes", "storage.test_questions", "test_branches"

#: State and what happens, as the table has them; and who carries it out, in `tests/turns/` unless it says.
LINES = {
    ("none", "a question is committed"): (ONE, "questions_wait_and_are_answered_in_their_order"),
    ("`queued`", "nothing is open before it, or it is `parallel`"): (
        ONE,
        "parallel_questions_wait_for_nothing",
    ),
    ("`queued`", "it is edited"): (ONE, "a_question_that_waits_is_edited_and_deleted"),
    ("`queued`", "`stream_cancel` with its id"): (ONE, "a_question_that_waits_is_stopped"),
    ("`queued`", "it is deleted"): (ONE, "a_question_that_waits_is_edited_and_deleted"),
    ("`queued`, `steer`", "an open answer takes it up (`step` part with its id in `steered`)"): (
        STEERING,
        "it_is_taken_up",
    ),
    ("`running`", "its answer begins (`stream_start` with `reply_to`)"): (
        ONE,
        "questions_wait_and_are_answered_in_their_order",
    ),
    ("`running`", "the node that was to begin the answer is gone for 15 seconds"): (
        STORED,
        "a_claim_that_lapsed_is_anothers",
    ),
    ("`running`, no answer yet", "`stream_cancel` with its id"): (ONE, "a_stop_before_the_first_word"),
    ("`running`, no answer yet", "it is deleted"): (ONE, "a_question_is_deleted_while_its_worker_thinks"),
    ("`running`", "its answer asks people (`stream_wait`)"): (WAITING, "it_goes_on_when_it_is_answered"),
    ("`waiting`", "a question of it is answered, or expires; others are open"): (
        WAITING,
        "all_have_to_be_answered",
    ),
    ("`waiting`", "the last one is answered, or expires"): (WAITING, "what_has_expired_is_cancelled"),
    (
        "`waiting`",
        "nobody goes on with it: no worker is there, or the node or worker that was to is gone",
    ): (WAITING_NODES, "the_node_dies_that_was_told"),
    ("`waiting`", "somebody goes on with it (`stream_start` with the last `fence`)"): (
        WAITING,
        "it_goes_on_when_it_is_answered",
    ),
    ("`waiting`", "nobody can go on with it: what it was told cannot be read any more"): (
        TAKING_ON,
        "what_cannot_be_gone_on_with_fails",
    ),
    (
        "`waiting`",
        "`stream_cancel` with its id or its answer's; it is deleted, or `interrupt`ed; its session ends",
    ): (WAITING, "a_stop_ends_it"),
    ("`running`", "its answer ends"): (ONE, "questions_wait_and_are_answered_in_their_order"),
    ("`running`", "it is `interrupt`ed; or deleted, while its answer is written"): (
        NODES,
        "the_node_that_took_an_interruption_dies_right_after",
    ),
    ("`running`", "it is marked, or `stream_cancel` names it or its answer"): (
        RACES,
        "stops_in_the_last_moment",
    ),
    ("`done`", "`regenerate` with its id or its answer's"): (
        BRANCHES,
        "an_answer_is_given_anew_and_chosen_between",
    ),
    ("open, no answer yet", "`regenerate`"): (BRANCHES, "who_asks_again_while_it_is_being_answered"),
    ("`running`, with an answer", "`regenerate`"): (BRANCHES, "who_asks_again_while_it_is_being_answered"),
    ("`running`", "it cannot be answered: its session has ended, its agent was deleted"): (
        ONE,
        "who_waits_for_an_answer_hears_that_there_is_none",
    ),
}


#: What users of others report; and who tries it, at two nodes or by two at once.
REPORTED = {
    "a stop before the first word": (ONE, "a_stop_before_the_first_word"),
    "... at the same moment": (RACES, "a_stop_and_the_first_word"),
    "a stop in the last moment, twice, from another tab": (RACES, "stops_in_the_last_moment"),
    "a stop while an approved answer is gone on with": (TAKING_ON, "a_stop_while_it_is_gone_on_with"),
    "approved in two tabs at once": (WAITING_NODES, "two_tabs_at_two_nodes"),
    "approved after it expired": (WAITING, "an_answer_after_its_time"),
    "edited while it waits in line": (ONE, "a_question_that_waits_is_edited_and_deleted"),
    "... at the moment of its turn": (RACES, "an_edit_at_the_moment_of_its_turn"),
    "regenerated while it is answered": (BRANCHES, "who_asks_again_while_it_is_being_answered"),
    "... at the moment of the end": (RACES, "regenerate_at_the_moment_of_the_end"),
    "its question deleted while it waits": (WAITING, "its_question_is_deleted"),
    "... and approved at once": (RACES, "an_approval_while_its_question_is_deleted"),
    "two people who write at once": (RACES, "two_people_write_at_once"),
    "a worker that wakes when it was fenced off": (WAITING, "who_was_fenced_off_writes_nothing"),
    "... where the question is in line again": (
        BRANCHES,
        "who_was_asked_before_does_not_answer_out_of_turn",
    ),
}


def test_each_line_of_the_table_has_a_test() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \| [^|]+ \|$", DOCUMENT.read_text(), re.M)
    assert [row for row in rows if row[0] not in ("state", "---")] == list(LINES)
    for module, test in (*LINES.values(), *REPORTED.values()):
        home = module if "." in module else f"turns.{module}"
        assert hasattr(import_module(f"tests.{home}"), f"test_{test}"), (module, test)
