"""How an answer ended and what it cost: gathered while it is written, for the end of its stream."""

from collections import Counter
from typing import Any

import msgspec

from events.agents.deltas import Delta, Finish, Model
from events.schema import FinishReason, Usage

#: Characters of a model's name that are kept.
NAME = 200


class AnswerOutcome:
    """`unshown` counts what the answer had beside text, by its kind."""

    def __init__(self) -> None:
        self.unshown: Counter[str] = Counter()
        self._reason: FinishReason | None = None
        self._usage = Usage()
        self._model: str | None = None

    def take(self, delta: Delta) -> None:
        """What is no text. Of each kind that is told once the last counts."""
        if isinstance(delta, Usage):
            self._usage = delta
        elif isinstance(delta, Finish):
            self._reason = delta.reason
        elif isinstance(delta, Model):
            self._model = delta.name.replace("\0", "")[:NAME] or None
        else:
            self.unshown[type(delta).__name__] += 1

    def said(self, otherwise: FinishReason | None = None) -> dict[str, Any]:
        """Fields of `storage.records.Outcome`. `otherwise`: the reason where the model gave none."""
        return {
            "finish_reason": self._reason or otherwise,
            "usage": msgspec.to_builtins(self._usage) or None,
            "model": self._model,
            "tokens_used": self._usage.total_tokens,
        }
