"""An answer with what answers are made of, for those who look at Parley without a model."""

from collections.abc import Sequence

from events.agents.deltas import (
    Citation,
    Delta,
    Model,
    NextStep,
    ReasoningDelta,
    ToolInput,
    ToolOutput,
    ToolReady,
)

#: The echo agent answers this with `SPECIMEN`.
ASKED = "/parts"

_TEXT = """An answer is made of **parts**, and you have just watched some of them come:

1. *reasoning*, folded now: what the model thought
2. two *tools*, with their input, and what came of it
3. this *text*, in Markdown, and below it a *source*

| part | grows by | event |
|---|---|---|
| text | `text` | `stream_chunk` |
| reasoning, tool | `text`, `input_text` | `stream_delta` |
| any | the whole of it | `stream_part` |

A client of text alone needs one of them:

```js
socket.on("stream_chunk", ({ content }) => show(content));
```
"""

SPECIMEN: Sequence[Delta] = (
    Model("echo"),
    ReasoningDelta("They want to see what an answer is made of. I look that up first, and the weather."),
    ToolInput(0, "call-1", "look_up", '{"word": "parts"}'),
    ToolReady(0, {"word": "parts"}, title="Look it up"),
    ToolInput(1, "call-2", "weather", '{"city": "Busan"}'),
    ToolReady(1, {"city": "Busan"}),
    ToolOutput(0, output={"parts": ["text", "reasoning", "tool", "source", "file", "data", "step"]}),
    ToolOutput(1, error="There is no weather in an example."),
    NextStep(),
    _TEXT,
    Citation("https://commonmark.org/help/", title="Markdown in a minute"),
)
