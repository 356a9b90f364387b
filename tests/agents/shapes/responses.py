"""Streams of the Responses API as servers send them. Long ids and what is only repeated is left out."""

import json
from typing import Any

from events.agents.deltas import Citation, ToolOutput
from events.agents.faults import Kind
from events.schema import Usage
from tests.agents.shapes.shape import VERCEL, Shape

FIXTURES = VERCEL + "openai/src/responses/__fixtures__/"
LIBRARY = "openai 3.57.0 (PyPI), types/responses"
COUNTED = {
    "input_tokens": 16,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 46,
}
USAGE = Usage(
    input_tokens=16,
    output_tokens=30,
    total_tokens=46,
    reasoning_tokens=4,
    cached_input_tokens=3,
    cache_write_input_tokens=2,
)


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind if kind == "error" else f"response.{kind}", **fields}


def response(status: str = "completed", **fields: Any) -> dict[str, Any]:
    """What begins and ends a stream, with what it repeats of the request."""
    whole: dict[str, Any] = {"id": "resp_1", "object": "response", "status": status, "model": "m"}
    whole |= {"error": None, "incomplete_details": None, "text": {"format": {"type": "text"}}, "output": []}
    return {"response": {**whole, "usage": COUNTED if status == "completed" else None, **fields}}


def stream(*told: dict[str, Any], named: bool = True, numbered: bool = True, done: bool = False) -> bytes:
    """`named`: each event has its name beside its data."""
    lines = []
    for number, each in enumerate([event("created", **response("in_progress")), *told]):
        data = {**each, "sequence_number": number} if numbered else each
        lines.append((f"event: {each['type']}\n" if named else "") + f"data: {json.dumps(data)}\n\n")
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


def item(at: int, kind: str, item_id: str, **fields: Any) -> dict[str, Any]:
    return {"output_index": at, "item": {"id": item_id, "type": kind, **fields}}


def said(at: int, *pieces: str, item_id: str = "msg_1", **part: Any) -> list[dict[str, Any]]:
    """A message, from its beginning to its end."""
    place = {"output_index": at, "item_id": item_id, "content_index": 0}
    whole = {"type": "output_text", "annotations": [], "text": "".join(pieces), **part}
    message = {"role": "assistant", "status": "completed", "content": [whole]}
    return [
        event("output_item.added", **item(at, "message", item_id, status="in_progress", content=[])),
        event("content_part.added", **place, part={"type": "output_text", "text": "", "annotations": []}),
        *(event("output_text.delta", **place, delta=each, logprobs=[], obfuscation="x") for each in pieces),
        event("output_text.done", **place, text="".join(pieces)),
        event("content_part.done", **place, part=whole),
        event("output_item.done", **item(at, "message", item_id, **message)),
    ]


def thought(at: int, *summaries: str, item_id: str = "rs_1", **more: Any) -> list[dict[str, Any]]:
    """A thought with its summaries; what is encrypted is whole at its end alone."""
    begun = {name: "begun" for name in more if name == "encrypted_content"}
    told = [event("output_item.added", **item(at, "reasoning", item_id, summary=[], **begun))]
    for number, words in enumerate(summaries):
        place = {"output_index": at, "item_id": item_id, "summary_index": number}
        told.append(event("reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""}))
        told += [event("reasoning_summary_text.delta", **place, delta=each) for each in words.split("_")]
        told.append(event("reasoning_summary_text.done", **place, text=words.replace("_", "")))
    whole = [{"type": "summary_text", "text": words.replace("_", "")} for words in summaries]
    return [*told, event("output_item.done", **item(at, "reasoning", item_id, summary=whole, **more))]


def call(at: int, call_id: str, name: str, *pieces: str) -> list[dict[str, Any]]:
    fields: dict[str, Any] = {"call_id": call_id, "name": name}
    place = {"output_index": at, "item_id": f"fc_{call_id}"}
    whole = "".join(pieces)
    return [
        event("output_item.added", **item(at, "function_call", f"fc_{call_id}", arguments="", **fields)),
        *(event("function_call_arguments.delta", **place, delta=each) for each in pieces),
        event("function_call_arguments.done", **place, arguments=whole),
        event("output_item.done", **item(at, "function_call", f"fc_{call_id}", arguments=whole, **fields)),
    ]


COMPLETED = event("completed", **response())
CITED = {"type": "url_citation", "url": "https://a.example/", "title": "A", "start_index": 0, "end_index": 3}
FAILED = {"code": "rate_limit_exceeded", "message": "Rate limit reached. Please try again in 2s."}
SEARCH = {"type": "search", "query": "news", "sources": [{"type": "url", "url": "https://a.example/"}]}
SEARCHED = ToolOutput(0, {"type": "search", "query": "news"}, {"sources": SEARCH["sources"]})

SHAPES = [
    Shape(
        server="OpenAI",
        shows="response: text, usage with its parts",
        source=FIXTURES + "openai-phase.1.chunks.txt",
        date="2026-02-25",
        how="recorded",
        body=stream(event("in_progress", **response("in_progress")), *said(0, "H", "i"), COMPLETED),
        text="Hi",
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: two messages, commentary and answer",
        source=FIXTURES + "openai-phase.1.chunks.txt",
        date="2026-02-25",
        how="recorded",
        body=stream(*said(0, "I look."), *said(2, "Here ", "it is.", item_id="msg_2"), COMPLETED),
        text="I look.\n\nHere it is.",
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: reasoning with summaries, encrypted, and a tool call in pieces",
        source=FIXTURES + "openai-reasoning-encrypted-content.1.chunks.txt",
        date="2026-01-05",
        how="recorded",
        body=stream(
            *thought(0, "**Adding_**", "Then", encrypted_content="c2VjcmV0"),
            *call(1, "call_a", "add", '{"', "a", '":12}'),
            COMPLETED,
        ),
        reasoning="**Adding**\n\nThen",
        encrypted=((0, "c2VjcmV0"),),
        calls=(("call_a", "add", '{"a":12}'),),
        finish="tool_calls",
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: a thought without words before each search; sources",
        source=FIXTURES + "openai-web-search-tool.1.chunks.txt",
        date="2026-02-23",
        how="recorded",
        body=stream(
            *thought(0, item_id="rs_1", encrypted_content="b25l"),
            event("output_item.added", **item(1, "web_search_call", "ws_1", status="in_progress")),
            event("web_search_call.in_progress", output_index=1, item_id="ws_1"),
            event("web_search_call.searching", output_index=1, item_id="ws_1"),
            event("web_search_call.completed", output_index=1, item_id="ws_1"),
            event(
                "output_item.done", **item(1, "web_search_call", "ws_1", status="completed", action=SEARCH)
            ),
            *thought(2, item_id="rs_2", encrypted_content="dHdv"),
            *said(3, "see A", annotations=[CITED])[:-1],
            event(
                "output_text.annotation.added",
                output_index=3,
                item_id="msg_1",
                content_index=0,
                annotation=CITED,
            ),
            COMPLETED,
        ),
        text="see A",
        calls=(("ws_1", "web_search", ""),),
        outputs=(SEARCHED,),
        encrypted=((0, "b25l"), (1, "dHdv")),
        sources=(Citation("https://a.example/", "A"),),
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: an MCP tool that it calls itself",
        source=FIXTURES + "openai-mcp-tool.1.chunks.txt",
        date="2025-11-06",
        how="recorded",
        body=stream(
            event("output_item.added", **item(0, "mcp_list_tools", "mcpl_1", server_label="d", tools=[])),
            event(
                "output_item.done",
                **item(0, "mcp_list_tools", "mcpl_1", server_label="d", tools=[{"name": "f"}]),
            ),
            event(
                "output_item.added", **item(1, "mcp_call", "mcp_1", arguments="", name="f", server_label="d")
            ),
            event("mcp_call_arguments.delta", output_index=1, item_id="mcp_1", delta='{"q":1}'),
            event("mcp_call_arguments.done", output_index=1, item_id="mcp_1", arguments='{"q":1}'),
            event(
                "output_item.done",
                **item(
                    1,
                    "mcp_call",
                    "mcp_1",
                    arguments='{"q":1}',
                    name="f",
                    server_label="d",
                    output='{"found": [2]}',
                    error=None,
                    status="completed",
                ),
            ),
            *said(2, "two"),
            COMPLETED,
        ),
        text="two",
        calls=(("mcp_1", "d.f", '{"q":1}'),),
        outputs=(ToolOutput(0, {"q": 1}, {"found": [2]}),),
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: code that it runs itself, in pieces",
        source=FIXTURES + "openai-code-interpreter-tool.1.chunks.txt",
        date="2025-09-12",
        how="recorded",
        body=stream(
            event("output_item.added", **item(0, "code_interpreter_call", "ci_1", code="", outputs=[])),
            event("code_interpreter_call_code.delta", output_index=0, item_id="ci_1", delta="1"),
            event("code_interpreter_call_code.delta", output_index=0, item_id="ci_1", delta="+1"),
            event("code_interpreter_call_code.done", output_index=0, item_id="ci_1", code="1+1"),
            event("code_interpreter_call.interpreting", output_index=0, item_id="ci_1"),
            event(
                "output_item.done",
                **item(
                    0,
                    "code_interpreter_call",
                    "ci_1",
                    code="1+1",
                    status="completed",
                    outputs=[{"type": "logs", "logs": "2"}],
                ),
            ),
            *said(1, "two"),
            COMPLETED,
        ),
        text="two",
        calls=(("ci_1", "code_interpreter", "1+1"),),
        outputs=(ToolOutput(0, "1+1", [{"type": "logs", "logs": "2"}]),),
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: a search in files that failed",
        source=f"{LIBRARY}/response_file_search_tool_call.py",
        date="2026-11-30",
        how="documented",
        body=stream(
            event(
                "output_item.added", **item(0, "file_search_call", "fs_1", status="in_progress", queries=[])
            ),
            event(
                "output_item.done",
                **item(0, "file_search_call", "fs_1", status="failed", queries=["q"], results=None),
            ),
            *said(1, "nothing"),
            COMPLETED,
        ),
        text="nothing",
        calls=(("fs_1", "file_search", ""),),
        outputs=(ToolOutput(0, ["q"], None, "failed"),),
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: a refusal in pieces",
        source=f"{LIBRARY}/response_refusal_delta_event.py",
        date="2026-11-30",
        how="documented",
        body=stream(
            event("output_item.added", **item(0, "message", "msg_1", content=[])),
            event("refusal.delta", output_index=0, item_id="msg_1", content_index=0, delta="I can't "),
            event("refusal.delta", output_index=0, item_id="msg_1", content_index=0, delta="do that."),
            event(
                "refusal.done", output_index=0, item_id="msg_1", content_index=0, refusal="I can't do that."
            ),
            COMPLETED,
        ),
        text="I can't do that.",
        finish="content_filter",
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: cut at its limit",
        source=f"{LIBRARY}/response_incomplete_event.py",
        date="2026-11-30",
        how="documented",
        body=stream(
            *said(0, "half")[:-2],
            event(
                "incomplete",
                **response("incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=COUNTED),
            ),
        ),
        text="half",
        finish="length",
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="response: stopped by the filter",
        source=f"{LIBRARY}/response.py",
        date="2026-11-30",
        how="documented",
        body=stream(
            *said(0, "half")[:-2],
            event("incomplete", **response("incomplete", incomplete_details={"reason": "content_filter"})),
        ),
        text="half",
        finish="content_filter",
    ),
    Shape(
        server="OpenAI",
        shows="response: quota, told twice",
        source=FIXTURES + "openai-error.1.chunks.txt",
        date="2025-11-18",
        how="recorded",
        body=stream(
            event(
                "error", error={"type": "insufficient_quota", "code": "insufficient_quota", "message": "no"}
            ),
            event("failed", **response("failed", error={"code": "insufficient_quota", "message": "no"})),
        ),
        finish=None,
        fault=Kind.QUOTA,
    ),
    Shape(
        server="OpenAI",
        shows="response: an error without a code",
        source=FIXTURES + "openai-error-null-code.1.chunks.txt",
        date="2026-08-22",
        how="recorded",
        body=stream(
            *said(0, "half")[:-3],
            event("error", error={"type": "server_error", "code": None, "message": "no"}),
        ),
        text="half",
        finish=None,
        fault=Kind.SERVER,
    ),
    Shape(
        server="OpenAI",
        shows="response: an error whose fields stand in the event itself",
        source=f"{LIBRARY}/response_error_event.py",
        date="2026-11-30",
        how="documented",
        body=stream(event("error", code="rate_limit_exceeded", message="slow down", param=None)),
        finish=None,
        fault=Kind.RATE_LIMIT,
    ),
    Shape(
        server="OpenAI",
        shows="response: failed in the middle",
        source=f"{LIBRARY}/response_failed_event.py",
        date="2026-11-30",
        how="documented",
        body=stream(*said(0, "half")[:-3], event("failed", **response("failed", error=FAILED))),
        text="half",
        finish=None,
        fault=Kind.RATE_LIMIT,
    ),
    Shape(
        server="OpenAI",
        shows="response: more than a minute's tokens at once",
        source=FIXTURES + "openai-response-failed-only.1.chunks.txt",
        date="2026-08-22",
        how="recorded",
        body=stream(
            event(
                "failed",
                **response(
                    "failed",
                    error={
                        "code": "rate_limit_exceeded",
                        "message": "Request too large for gpt-4o-mini in organization on tokens per min: "
                        "Limit 30000, Requested 35364.",
                    },
                ),
            )
        ),
        finish=None,
        fault=Kind.CONTEXT,
    ),
    Shape(
        server="OpenAI",
        shows="response: as JSON in place of a stream",
        source=FIXTURES + "openai-web-search-tool.1.json",
        date="2026-02-23",
        how="recorded",
        body=json.dumps(
            response(
                output=[
                    {
                        "type": "reasoning",
                        "id": "rs_1",
                        "summary": [{"type": "summary_text", "text": "so"}],
                        "encrypted_content": "c2VjcmV0",
                    },
                    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": SEARCH},
                    {
                        "type": "message",
                        "id": "msg_1",
                        "role": "assistant",
                        "status": "completed",
                        "content": [{"type": "output_text", "text": "see A", "annotations": [CITED]}],
                    },
                    {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": "{}"},
                ]
            )["response"]
        ).encode(),
        text="see A",
        reasoning="so",
        encrypted=((0, "c2VjcmV0"),),
        calls=(("ws_1", "web_search", ""), ("call_a", "f", "{}")),
        outputs=(SEARCHED,),
        sources=(Citation("https://a.example/", "A"),),
        finish="tool_calls",
        usage=USAGE,
    ),
    Shape(
        server="Azure",
        shows="response: several summaries of one thought, encrypted",
        source=FIXTURES + "azure-gpt5-reasoning-multi-summary-with-encryption.chunks.txt",
        date="2026-04-30",
        how="recorded",
        body=stream(*thought(0, "zero", "one", "two", encrypted_content="Qg=="), *said(1, "Hi"), COMPLETED),
        text="Hi",
        reasoning="zero\n\none\n\ntwo",
        encrypted=((0, "Qg=="),),
        usage=USAGE,
    ),
    Shape(
        server="GitHub Copilot",
        shows="response: another id of the same item in each event",
        source=FIXTURES + "github-copilot-id-rotation.1.chunks.txt",
        date="2026-08-06",
        how="recorded",
        body=stream(
            *(
                {
                    **each,
                    **({"item_id": f"id_{n}"} if "item_id" in each else {}),
                    **({"item": {**each["item"], "id": f"id_{n}"}} if "item" in each else {}),
                }
                for n, each in enumerate([*thought(0, "count_ing"), *said(1, "thr", "ee")])
            ),
            COMPLETED,
            named=False,
        ),
        text="three",
        reasoning="counting",
        usage=USAGE,
    ),
    Shape(
        server="xAI",
        shows="response: its own tools, one of them without pieces",
        source=VERCEL + "xai/src/responses/__fixtures__/xai-x-search-tool.chunks.txt",
        date="2026-01-06",
        how="recorded",
        body=stream(
            event(
                "output_item.added",
                **item(0, "custom_tool_call", "ctc_1", call_id="xs_1", name="x_search", input=""),
            ),
            event("custom_tool_call_input.delta", output_index=0, item_id="ctc_1", delta='{"q":1}'),
            event("custom_tool_call_input.done", output_index=0, item_id="ctc_1", input='{"q":1}'),
            event(
                "output_item.done",
                **item(0, "custom_tool_call", "ctc_1", call_id="xs_1", name="x_search", input='{"q":1}'),
            ),
            event(
                "output_item.added",
                **item(1, "custom_tool_call", "ctc_2", call_id="xs_2", name="view", input=""),
            ),
            event("custom_tool_call_input.done", output_index=1, item_id="ctc_2", input='{"v":2}'),
            event(
                "output_item.done",
                **item(1, "custom_tool_call", "ctc_2", call_id="xs_2", name="view", input='{"v":2}'),
            ),
            *said(2, "seen"),
            COMPLETED,
            named=False,
        ),
        text="seen",
        calls=(("xs_1", "x_search", '{"q":1}'), ("xs_2", "view", '{"v":2}')),
        outputs=(ToolOutput(0, {"q": 1}), ToolOutput(1, {"v": 2})),
        usage=USAGE,
    ),
    Shape(
        server="LM Studio",
        shows="response: the model's own reasoning, a call that comes whole",
        source=VERCEL + "open-responses/src/responses/__fixtures__/lmstudio-tool-call.1.chunks.txt",
        date="2026-01-21",
        how="recorded",
        body=stream(
            event("output_item.added", **item(0, "reasoning", "rs_1", summary=[], content=[])),
            event(
                "content_part.added",
                output_index=0,
                item_id="rs_1",
                content_index=0,
                part={"type": "reasoning_text"},
            ),
            event("reasoning_text.delta", output_index=0, item_id="rs_1", content_index=0, delta="The "),
            event("reasoning_text.delta", output_index=0, item_id="rs_1", content_index=0, delta="user"),
            event("reasoning_text.done", output_index=0, item_id="rs_1", content_index=0, text="The user"),
            event(
                "output_item.done",
                **item(
                    0,
                    "reasoning",
                    "rs_1",
                    summary=[],
                    content=[{"type": "reasoning_text", "text": "The user"}],
                ),
            ),
            *said(1, "I look."),
            *(each for each in call(2, "call_a", "f", '{"x":1}') if not each["type"].endswith("delta")),
            COMPLETED,
        ),
        text="I look.",
        reasoning="The user",
        calls=(("call_a", "f", '{"x":1}'),),
        finish="tool_calls",
        usage=USAGE,
    ),
    Shape(
        server="LiteLLM",
        shows="response: made of chat completions; the message ends behind its calls",
        source="litellm[proxy] 1.108.7 (PyPI)",
        date="2026-11-30",
        how="run",
        body=stream(
            event("output_item.added", **item(0, "reasoning", "rs_1", status="in_progress")),
            event("reasoning_summary_text.delta", output_index=0, item_id="rs_1", delta="hmm"),
            event("reasoning_summary_text.done", output_index=0, item_id="rs_1", summary_index=0, text="hmm"),
            event(
                "output_item.done",
                **item(0, "reasoning", "rs_1", summary=[{"type": "summary_text", "text": "hmm"}]),
            ),
            *said(1, "I look")[:3],
            *call(2, "call_a", "f", "{}")[:2],
            *call(3, "call_b", "g", '{"a":1}')[:2],
            *call(2, "call_a", "f", "{}")[2:],
            *call(3, "call_b", "g", '{"a":1}')[2:],
            *said(1, "I look")[3:],
            COMPLETED,
            named=False,
            done=True,
        ),
        text="I look",
        reasoning="hmm",
        calls=(("call_a", "f", "{}"), ("call_b", "g", '{"a":1}')),
        finish="tool_calls",
        usage=USAGE,
    ),
    Shape(
        server="LiteLLM",
        shows="response: its upstream broke off, and it says so",
        source="litellm[proxy] 1.108.7 (PyPI)",
        date="2026-11-30",
        how="run",
        body=stream(
            *said(0, "half")[:3],
            event(
                "failed",
                **response("failed", error={"code": "server_error", "message": "litellm.BadGatewayError"}),
            ),
            named=False,
            done=True,
        ),
        text="half",
        finish=None,
        fault=Kind.SERVER,
    ),
    Shape(
        server="llama.cpp",
        shows="response: pieces without numbers or places",
        source="xllamacpp 2026.10.11549 (PyPI)",
        date="2026-11-30",
        how="run",
        body=stream(
            *(
                {name: value for name, value in each.items() if name not in ("output_index", "content_index")}
                for each in said(0, "H", "i")
            ),
            COMPLETED,
            numbered=False,
        ),
        text="Hi",
        usage=USAGE,
        limit=31,
    ),
    Shape(
        server="llama.cpp",
        shows="response: cut at its limit, and called completed",
        source="xllamacpp 2026.10.11549 (PyPI)",
        date="2026-11-30",
        how="run",
        body=stream(*said(0, "half"), COMPLETED, numbered=False),
        text="half",
        finish="length",
        usage=USAGE,
        limit=30,
    ),
]
