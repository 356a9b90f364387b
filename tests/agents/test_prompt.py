"""What a model is told: the conversation as its template and its window take it."""

from typing import Any

import pytest

from events.agents.base import Request
from events.agents.config import checked
from events.agents.prompt import Manner, Prompt, conversation
from events.schema import Message
from tests.agents.test_openai import request, said


def by(person: str, text: str) -> Message:
    message = said(text)
    message.sender_id = person
    return message


def ended(text: str, status: str) -> Message:
    message = said(text, "agent")
    message.status = status  # type: ignore[assignment]
    return message


def told(asked: Request, **manner: Any) -> list[tuple[str, str]]:
    config = checked(asked.agent.config)
    prompt = conversation(asked, config, Manner(8000, **manner) if manner else None)
    return [(each["role"], each["content"]) for each in prompt.messages]


def test_answers_that_a_fault_broke_off_are_left_out() -> None:
    history = [
        said("one"), ended("half", "failed"), said("two"), ended("", "complete"), said("three"),
        ended("cut off", "interrupted"), said("four"), ended("stopped", "cancelled"), said("five"),
        ended(" \n", "complete"),
    ]  # fmt: skip
    assert told(request("six", *history)) == [
        ("user", "one"), ("user", "two"), ("user", "three"), ("user", "four"),
        ("assistant", "stopped"), ("user", "five"), ("user", "six"),
    ]  # fmt: skip
    assert told(request("six", *history, turns="alternate")) == [
        ("user", "one\n\ntwo\n\nthree\n\nfour"), ("assistant", "stopped"), ("user", "five\n\nsix"),
    ]  # fmt: skip


@pytest.mark.parametrize("turns", ["auto", "alternate", "as_is"])
def test_a_conversation_never_begins_with_an_answer(turns: str) -> None:
    history = [
        said("x" * 4000),
        said("indeed", "agent"),
        said("closed", "system"),
        said("b"),
        said("c", "agent"),
    ]
    asked = request("d", *history, context_tokens=200, system_prompt="p", turns=turns)
    roles = [role for role, _ in told(asked)]
    assert roles[0] == "system"
    assert next(role for role in roles if role != "system") == "user"
    assert roles[-2:] == ["assistant", "user"]


def test_system_messages_where_a_template_takes_one_or_none() -> None:
    history = [said("a"), said("b", "agent"), said("the topic changed", "system")]
    asked = request("c", *history, system_prompt="p")
    assert told(asked, alternate=True) == [
        ("system", "p"), ("user", "a"), ("assistant", "b"), ("user", "the topic changed\n\nc"),
    ]  # fmt: skip
    assert told(asked, alternate=True, system_role=False) == [
        ("user", "p\n\na"), ("assistant", "b"), ("user", "the topic changed\n\nc"),
    ]  # fmt: skip


def test_several_people_are_told_apart() -> None:
    history = [by("alice", "hi"), by("bob", "hello"), said("both!", "agent")]
    asked = request("who?", *history)
    asked.message.sender_id = "eve two"
    texts = [("user", "alice: hi"), ("user", "bob: hello"), ("assistant", "both!"), ("user", "eve two: who?")]
    assert told(asked) == texts
    assert told(asked, alternate=True)[0] == ("user", "alice: hi\n\nbob: hello")
    asked.agent.config["names"] = "off"
    assert told(asked)[0] == ("user", "hi")
    asked.agent.config["names"] = "field"
    prompt = conversation(asked, checked(asked.agent.config))
    assert [each.get("name") for each in prompt.messages] == ["alice", "bob", None, "eve_two"]
    assert prompt.messages[0]["content"] == "hi"
    assert told(asked, alternate=True)[0] == ("user", "alice: hi\n\nbob: hello"), "one message, two people"
    alone = request("and?", by("1", "hi"))
    assert told(alone) == [("user", "hi"), ("user", "and?")]


def test_what_a_page_tells_of_itself_goes_with_its_question() -> None:
    """Not with later ones; what is no context is left out, and too much of it is cut off."""
    data = [
        {"description": "the page\n[file: x]", "value": "seven"},
        {"description": "the cart", "value": {"eur": 5}},
        {"description": 7, "value": "no"},
    ]
    page = said("How much?")
    page.parts = [{"type": "data", "id": "d", "name": "context", "data": data}]  # type: ignore[list-item]
    asked = request("")
    asked.message = page
    context = '[context: the page [file: x]]\nseven\n\n[context: the cart]\n{"eur":5}'
    assert told(asked) == [("user", f"How much?\n\n{context}")]
    assert told(request("And now?", page)) == [("user", "How much?"), ("user", "And now?")]
    data[0]["value"] = "x" * 100_000
    cut = told(asked)[0][1]
    assert cut.endswith("x\n[cut]")
    assert len(cut) < 20_000
    page.parts[0]["data"] = {"other": "thing"}  # type: ignore[index]
    assert told(asked) == [("user", "How much?")]


def test_a_window_leaves_room_for_the_answer() -> None:
    history = [said(f"{n}" + "x" * 399) for n in range(50)]

    def size(**config: Any) -> int:
        asked = request("now", *history, **config)
        made: Prompt = conversation(asked, checked(asked.agent.config))
        return made.tokens

    assert 2900 < size(context_window=4096) <= 4096 - 1024
    assert 3700 < size(context_window=4096, max_tokens=300) <= 4096 - 300
    assert 200 < size(context_window=512) <= 512 - 128
    assert 800 < size(context_window=4096, max_tokens=9999) <= 1024, "a quarter is for the question"
    assert size(context_window=400_000) == size()
