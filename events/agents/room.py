"""How much of a model's window goes to its tools and to what they gave. Knows no API."""

import math
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from events.agents.modelcall import ModelCall, ModelTurn
from events.agents.prompt import Manner, Prompt
from events.agents.toldfiles import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE
from events.agents.toolresults import cut

#: Bytes of a tool's output at least, however little room there is.
LEAST = 256


class Fitted(Struct, frozen=True):
    """A call whose tools' outputs fit. `tokens` are what tools and turns take, by our estimate; `cuttable`
    counts outputs that could be cut further."""

    call: ModelCall
    tokens: int = 0
    cuttable: int = 0

    def left(self, manner: Manner) -> Manner:
        """For the conversation."""
        return msgspec.structs.replace(manner, budget=manner.budget - self.tokens)

    def whole(self, prompt: Prompt) -> Prompt:
        """With what is told besides the conversation."""
        return msgspec.structs.replace(
            prompt, tokens=prompt.tokens + self.tokens, history=prompt.history + self.cuttable
        )


def fitted(call: ModelCall, manner: Manner) -> Fitted:
    if not call.tools:
        return Fitted(call)
    if not manner.tools:
        return Fitted(msgspec.structs.replace(call, tools=(), turns=()))
    offers = math.ceil(len(msgspec.json.encode(call.tools)) / BYTES_PER_TOKEN)
    turns = shortened(call.turns, max(0, manner.budget - offers) * BYTES_PER_TOKEN)
    cuttable = sum(len(each.output) > LEAST for turn in turns for each in turn.calls)
    tokens = offers + sum(map(_tokens, turns))
    return Fitted(msgspec.structs.replace(call, turns=turns), tokens, cuttable)


def _tokens(turn: ModelTurn) -> int:
    messages = TOKENS_PER_MESSAGE * (1 + len(turn.calls))
    return messages + math.ceil(len(msgspec.json.encode(turn)) / BYTES_PER_TOKEN)


def shortened(turns: Iterable[ModelTurn], room: int) -> list[ModelTurn]:
    """The same with what tools gave cut, in equal parts, to as many bytes as there is room for."""
    turns = list(turns)
    sizes = sorted(len(call.output.encode()) for turn in turns for call in turn.calls)
    share = 0
    while sizes and sum(sizes) > room:
        # Small outputs stay whole; what they leave goes to the others.
        share = max(LEAST, room // len(sizes))
        if sizes[0] > share or share == LEAST:
            break
        room -= sizes.pop(0)
    else:
        return turns
    return [
        msgspec.structs.replace(
            turn,
            calls=[msgspec.structs.replace(call, output=cut(call.output, share)) for call in turn.calls],
        )
        for turn in turns
    ]
