"""What refusals teach about an upstream's model, so that the next request is one that it accepts.

Kept by this node alone, and for as long as it runs.
"""

from msgspec import Struct

from events.agents.config import OpenAIConfig
from events.agents.faults import Fault, Kind
from events.agents.prompt import Manner, Prompt, answer_room, budget_of

#: Models that something is remembered of, those that were asked last: a few hundred bytes each.
MOST = 1000
#: Times that a conversation is cut for one answer before the question goes alone.
CUTS = 3
#: Of the room that an upstream names: its count and our estimate differ from text to text.
MARGIN = 0.9


class Sent(Struct, frozen=True):
    """A question as it was asked; `cuts`: how often its conversation was cut before."""

    prompt: Prompt
    ways: tuple[bool, ...]
    cuts: int


class Lessons(Struct):
    """Of one model."""

    alternate: bool = False
    system_role: bool = True
    stream_options: bool = True
    max_tokens: bool = True
    encrypted: bool = True
    images: bool = True
    tools: bool = True
    tool_choice: bool = True
    reasoning: bool = True
    budget: int | None = None

    def manner(self, config: OpenAIConfig, cuts: int) -> Manner:
        """`cuts`: how often the conversation was cut for this answer."""
        budget = budget_of(config)
        if self.budget is not None:
            budget = min(budget, self.budget)
        return Manner(
            0 if cuts > CUTS else budget,
            alternate=config.turns == "alternate" or self.alternate,
            system_role=self.system_role,
            images=self.images,
            tools=self.tools,
        )

    @property
    def ways(self) -> tuple[bool, ...]:
        """How a request is made, beside its length."""
        told = (self.alternate, self.system_role, self.tools, self.reasoning, self.encrypted, self.images)
        return (*told, self.stream_options, self.max_tokens, self.tool_choice)

    def learn(self, fault: Fault, config: OpenAIConfig, sent: Sent) -> bool:
        """Whether the same question may be asked at once in another way: what is known now, perhaps by
        another question's refusal, differs from how this one was asked."""
        if fault.kind is Kind.CONTEXT:
            return self._cut(fault, config, sent)
        if fault.kind is Kind.TURNS and config.turns == "auto":
            self.alternate = True
        elif fault.kind is Kind.SYSTEM and config.turns == "auto":
            self.alternate, self.system_role = True, False
        elif fault.kind is Kind.STREAM_OPTIONS:
            self.stream_options = False
        elif fault.kind is Kind.MAX_TOKENS and config.max_tokens is not None:
            self.max_tokens = False
        elif fault.kind is Kind.ENCRYPTED:
            self.encrypted = False
        elif fault.kind is Kind.IMAGES and sent.prompt.files:
            self.images = False
        elif fault.kind is Kind.TOOLS:
            self.tools = False
        elif fault.kind is Kind.TOOL_CHOICE:
            self.tool_choice = False
        elif fault.kind is Kind.REASONING:
            self.reasoning = False
        else:
            return False
        return sent.ways != self.ways

    def _cut(self, fault: Fault, config: OpenAIConfig, sent: Sent) -> bool:
        prompt = sent.prompt
        if not prompt.history:
            return False
        if sent.cuts < CUTS:
            # Where one cut was not enough, what the upstream says does not add up, or not to our estimate.
            fitting = _fitting(fault, config, prompt) if sent.cuts == 0 else prompt.tokens // 2
            fitting = min(fitting, prompt.tokens * 9 // 10)
            self.budget = fitting if self.budget is None else min(self.budget, fitting)
        return True

    def fitted(self, sent: Sent) -> None:
        """This much was taken: less need not be told again."""
        if self.budget is not None:
            known = self.budget // 2 if sent.cuts > CUTS else self.budget
            self.budget = max(known, sent.prompt.tokens)


def _fitting(fault: Fault, config: OpenAIConfig, sent: Prompt) -> int:
    """The budget, by our estimate, that fits what the upstream says of its window."""
    if fault.window is None:
        return sent.tokens // 2
    room = fault.window - answer_room(config, fault.window)
    if fault.asked:
        return int(sent.tokens * room / fault.asked * MARGIN)
    return min(room, sent.tokens * 3 // 4)


class Learnt:
    """The lessons by model. A key names an upstream and its model."""

    def __init__(self) -> None:
        self._of: dict[tuple[object, ...], Lessons] = {}

    def of(self, key: tuple[object, ...]) -> Lessons:
        lessons = self._of.pop(key, None) or Lessons()
        self._of[key] = lessons
        while len(self._of) > MOST:
            del self._of[next(iter(self._of))]
        return lessons
