"""An answer of several model calls, with tools between them. Knows no API, no tools' protocol, no stream."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct

from events.agents.account import MOST_TOKENS
from events.agents.deltas import (
    Citation,
    Delta,
    NextStep,
    ReasoningDelta,
    ToolInput,
    ToolOutput,
    ToolReady,
)
from events.agents.modelcall import ModelCall, ModelTurn
from events.agents.modelcaller import ModelCaller
from events.agents.toolbox import Toolbox, arguments_of
from events.agents.toolresults import ToolResult
from events.agents.turn import TurnReader, WantedCall
from events.schema import Usage

#: Seconds between signs of life while tools run.
ALIVE = 5.0
#: What a call is told that came after the last round.
TOO_LATE = "not called: the answer has used up its rounds of tool calls"


class _Numbers(Struct):
    """What an answer's model calls count from 0, each for itself, counted for the answer as a whole."""

    calls: int = 0
    thoughts: int = 0


async def conversed(
    caller: ModelCaller, call: ModelCall, box: Toolbox, rounds: int
) -> AsyncGenerator[Delta, None]:
    """The whole answer. Raises AnswerFailed."""
    answer = _Answer(box)
    turns: list[ModelTurn] = []
    for number in range(rounds + 1):
        asked = msgspec.structs.replace(call, turns=tuple(turns), may_call=number < rounds)
        turn = TurnReader()
        async with aclosing(caller.ask(asked)) as deltas:
            async for delta in deltas:
                told = answer.numbered(delta)
                turn.take(told)
                for each in answer.once(told):
                    yield each
        wanted = turn.calls if asked.tools else []
        if not wanted or not asked.may_call:
            for late in wanted:
                yield ToolOutput(late.number, error=TOO_LATE)
            return
        results: dict[int, ToolResult] = {}
        async with aclosing(answer.carried_out(wanted, results)) as shown:
            async for each in shown:
                yield each
        turns.append(turn.told(results))
        answer.next_step()
        yield NextStep()


class _Answer:
    """What counts over all of an answer's model calls."""

    def __init__(self, box: Toolbox) -> None:
        self._box = box
        self._before, self._now = _Numbers(), _Numbers()
        self._ids: dict[str, int] = {}
        self._urls: set[str] = set()
        self._spent, self._usage = Usage(), Usage()

    def next_step(self) -> None:
        self._before = msgspec.structs.replace(self._now)
        self._spent = self._usage

    def numbered(self, delta: Delta) -> Delta:
        if isinstance(delta, ToolInput):
            number = self._before.calls + delta.call
            self._now.calls = max(self._now.calls, number + 1)
            tool_call_id = delta.tool_call_id
            if self._ids.setdefault(tool_call_id, number) != number:
                # Some count each call of the model's from 0 again.
                tool_call_id = f"{tool_call_id}_{number}"
            return msgspec.structs.replace(delta, call=number, tool_call_id=tool_call_id)
        if isinstance(delta, ToolOutput):
            return msgspec.structs.replace(delta, call=self._before.calls + delta.call)
        if isinstance(delta, ReasoningDelta):
            thought = self._before.thoughts + delta.thought
            self._now.thoughts = max(self._now.thoughts, thought + 1)
            return msgspec.structs.replace(delta, thought=thought)
        if isinstance(delta, Usage):
            self._usage = _sum(self._spent, delta)
            return self._usage
        return delta

    def once(self, delta: Delta) -> list[Delta]:
        """Nothing, if it is a source that was named before."""
        if isinstance(delta, Citation):
            if delta.url in self._urls:
                return []
            self._urls.add(delta.url)
        return [delta]

    async def carried_out(
        self, wanted: list[WantedCall], results: dict[int, ToolResult]
    ) -> AsyncGenerator[Delta, None]:
        """All at once, as far as the bounds allow; closed or cancelled, it cancels what still runs."""
        for call in wanted:
            try:
                yield ToolReady(call.number, arguments_of(call.input_text), self._box.title(call.name))
            except ValueError:
                continue  # its end says so
        running = {
            asyncio.create_task(self._box.call(call.name, call.input_text), name="a tool's call"): call
            for call in wanted
        }
        left = set(running)
        try:
            while left:
                done, left = await asyncio.wait(left, timeout=ALIVE, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    yield ""  # still at it
                for task in sorted(done, key=lambda each: running[each].number):
                    number = running[task].number
                    result = results[number] = task.result()
                    yield ToolOutput(number, output=result.output, error=result.error)
                    for source in result.sources:
                        for each in self.once(source):
                            yield each
        finally:
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)


async def while_waiting(work: Coroutine[Any, Any, None]) -> AsyncGenerator[str, None]:
    """Signs of life until it is done; closed or cancelled, it is cancelled, too."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=ALIVE)
            if not task.done():
                yield ""
        task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


def _sum(spent: Usage, now: Usage) -> Usage:
    """Of two model calls. A count that only one of them has is that one's."""

    def added(name: str) -> int | None:
        counts = [count for usage in (spent, now) if (count := getattr(usage, name)) is not None]
        return min(sum(counts), MOST_TOKENS) if counts else None

    return Usage(**{name: added(name) for name in Usage.__struct_fields__})
