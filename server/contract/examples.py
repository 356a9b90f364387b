"""A request to try for each call and command: valid, short, and of values that a reader has after a minute.

`{session_id}` and the like stand for the reader's own; `docs/theme/try.js` puts them in.
"""

from typing import Any

from server.contract.operations import RestCall

Json = dict[str, Any]

#: Payloads of commands, without `session_id`, which all have but those of `WITHOUT_SESSION`.
_PAYLOADS: dict[str, Json] = {
    "message": {"content": "Hello"},
    "edit": {"message_id": "{message_id}", "content": "Hello, once more"},
    "regenerate": {"message_id": "{answer_id}"},
    "select": {"message_id": "{answer_id}"},
    "delete": {"message_id": "{message_id}"},
    "file": {"file_id": "{file_id}", "message": "Look"},
    "typing": {"is_typing": True},
    "presence": {"status": "away"},
    "read": {"seq": 1},
    "history": {"limit": 20},
    "feedback": {"message_id": "{answer_id}", "value": "up"},
    "stream_chunk": {"content": "One word"},
    "stream_delta": {"part": "reasoning-1", "content": "hm"},
    "stream_part": {"part": {"id": "reasoning-1", "type": "reasoning", "text": "hm"}},
    "stream_wait": {
        "interrupts": [{"id": "ask-1", "reason": "confirmation", "message": "May I?", "response_schema": {}}]
    },
    "answer": {"message_id": "{answer_id}", "interrupt_id": "ask-1", "status": "resolved", "payload": True},
    "agent_status": {"status": "thinking"},
    "stream_cancel": {"message_id": "{answer_id}"},
    "stream_resume": {"message_id": "{answer_id}"},
    "auth_refresh": {"token": "{token}"},
}
WITHOUT_SESSION = ("presence", "auth_refresh")

_ASK: Json = {"content": "Hello, in one request"}
_AG_UI: Json = {"threadId": "{session_id}", "runId": "run-1"}
_UI_MESSAGE: Json = {"id": "question-1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
#: Bodies of REST calls, by method and path; commands have their own payloads.
_BODIES: dict[tuple[str, str], Json] = {
    ("POST", "/api/chat"): _ASK,
    ("POST", "/api/chat/sessions"): {"title": "Tried", "agent_id": 1},
    ("PATCH", "/api/chat/sessions/{session_id}"): {"title": "Tried twice"},
    ("POST", "/api/chat/sessions/{session_id}/extend"): {"hours": 24},
    ("PUT", "/api/chat/sessions/{session_id}/participants/{user_id}"): {"role": "member"},
    ("POST", "/api/chat/sessions/{session_id}/messages"): {"content": "Hello"},
    ("PATCH", "/api/chat/sessions/{session_id}/messages/{message_id}"): {"content": "Hello, once more"},
    ("POST", "/api/chat/sessions/{session_id}/messages/stream"): {"content": "Hello"},
    ("POST", "/v1/chat/completions"): {
        "model": "1",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
    },
    ("POST", "/v1/responses"): {"model": "1", "input": "Hello"},
    ("POST", "/api/ai/chat"): {"id": "{session_id}", "messages": [_UI_MESSAGE]},
    ("POST", "/api/ag-ui/{agent_id}"): {
        **_AG_UI,
        "messages": [{"id": "question-2", "role": "user", "content": "Hello"}],
    },
    ("POST", "/api/ag-ui/agent/{agent_id}/run"): {
        **_AG_UI,
        "runId": "run-2",
        "messages": [{"id": "question-3", "role": "user", "content": "Hello"}],
    },
    ("POST", "/api/ag-ui/agent/{agent_id}/connect"): _AG_UI,
    ("POST", "/api/ag-ui/agent/{agent_id}/stop/{thread_id}"): {"runId": "run-1"},
    ("POST", "/api/chat/agents"): {"name": "Mine", "kind": "remote"},
    ("PATCH", "/api/chat/agents/{agent_id}"): {"name": "Echo"},
    ("POST", "/api/server/publish"): {
        "session_id": "{session_id}",
        "event": "weather",
        "data": {"degrees": 21},
    },
    ("POST", "/api/server/disconnect"): {"user_id": "somebody"},
    ("POST", "/api/server/webhooks"): {
        "url": "https://hooks.example.com/parley",
        "session_id": "{session_id}",
        "events": ["message", "stream_end"],
    },
    ("PATCH", "/api/server/webhooks/{webhook_id}"): {"is_active": True},
    ("POST", "/api/server/webhooks/{webhook_id}/replay"): {"session_id": "{session_id}", "after_revision": 0},
    ("POST", "/api/dev/token"): {"sub": "alice"},
}
_QUERIES = {"/api/chat/search": "?q=hello", "/api/chat/sessions": "?limit=5"}
#: For what stands in paths besides ids of what a reader has who has begun.
_IN_PATHS = {
    "{agent_id}": "1",
    "{model}": "1",
    "{user_id}": "bob",
    "{webhook_id}": "wh_1",
    "{chat_id}": "{session_id}",
    "{thread_id}": "{session_id}",
    "{response_id}": "resp_{answer_id}",
}
#: Of streams: who is told something about an answer, has that one.
_ANSWERS = ("/api/chat/streams/{message_id}", "/api/chat/streams/{message_id}/cancel")


def payload(command: str) -> Json:
    """Of a command. What its line above does not name is the session alone; a test tries each."""
    own = _PAYLOADS.get(command, {})
    return own if command in WITHOUT_SESSION else {"session_id": "{session_id}", **own}


def body(call: RestCall) -> Json | None:
    """Of a REST call that takes JSON; without a line above an empty one."""
    if call.body is None:
        return None
    if call.tag == "commands":
        own = payload(call.path.rpartition("/")[2])
        return {name: value for name, value in own.items() if name not in call.leave_out}
    return _BODIES.get((call.method, call.path), {})


def address(call: RestCall) -> str:
    """Its path, with the reader's own in braces."""
    path = call.path
    for name, value in _IN_PATHS.items():
        path = path.replace(name, value)
    if call.path in _ANSWERS:
        path = path.replace("{message_id}", "{answer_id}")
    return path + (_QUERIES.get(call.path, "") if call.method == "GET" else "")
