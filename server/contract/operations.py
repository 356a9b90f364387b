"""Every REST operation: what it takes and answers. A test holds the table against the server's routes."""

from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from events import payloads, schema
from events.catalog import CATALOG
from events.webhooks.service import (
    ChangedWebhook,
    DeliveriesPage,
    DeliveriesQuery,
    NewWebhook,
    ReplayWebhook,
    RotatedSecret,
    WebhookList,
    WebhookView,
)
from server.contract.schemas import doc, first_sentence
from server.dialects.agui.bodies import RunInput, RunStop
from server.dialects.aisdk.bodies import UIChatRequest, UIChatStop
from server.dialects.openai.bodies import ChatCompletionRequest
from server.dialects.openai.responsebodies import InputItemsQuery, ResponseQuery, ResponseRequest
from server.routes.agents import ChangedAgent, NewAgent
from server.routes.dev import DevToken
from server.routes.messages import BY_NAME
from server.routes.search import SearchQuery
from server.routes.service import Connections, Disconnect, FeedbackList, Publish
from server.routes.webhooks import WebhooksQuery
from server.transports.codecs import END

S = "/api/chat/sessions/{session_id}"
W = "/api/server/webhooks"


@dataclass(frozen=True, slots=True)
class RestCall:
    """`answer` is a struct, a media type, or nothing. `errors` are HTTP statuses besides those of every call;
    a `public` one needs no token. `parameters` are those that no struct has: name -> (place, schema)."""

    method: str
    path: str
    summary: str
    tag: str
    status: int = 200
    answer: type[Struct] | str | None = None
    body: type[Struct] | None = None
    leave_out: tuple[str, ...] = ()
    query: type[Struct] | None = None
    errors: tuple[int, ...] = ()
    public: bool = False
    upload: bool = False
    also: dict[int, str] = field(default_factory=dict)
    parameters: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        words = [word.strip("{}") for word in self.path.split("/") if word not in ("api", "chat", "")]
        return "_".join([self.method.lower(), *words]).replace(".", "_")


EVENT_STREAM = "text/event-stream"
WHOLE = {"type": "integer", "minimum": 0}
KEY = {"Idempotency-Key": ("header", {"type": "string"})}
#: `<message_id>:<next_index>`, or the end's; an empty one is none (HTML Standard, server-sent events).
RESUME = {"Last-Event-ID": ("header", {"type": "string", "pattern": rf"^([^\s]+:([0-9]{{1,15}}|{END}))?$"})}
SIGNED = {
    "signature": ("query", {"type": "string"}),
    "expires": ("query", {"type": "string"}),
}
SDK = {"sdk": ("query", {"type": "string", "enum": ["5", "6", "7"], "default": "6"})}
AGENT = {"agent_id": ("query", {"type": "string"})}
#: A session may not be there, have expired, or be archived.
GONE = (404, 409, 410)


def _commands() -> list[RestCall]:
    """Commands by their own names, for callers without a connection."""
    return [
        RestCall(
            "POST",
            f"{S}/{name}",
            first_sentence(doc(CATALOG[name].schema)),
            "commands",
            answer=CATALOG[name].reply,
            body=CATALOG[name].schema,
            leave_out=("session_id",),
            errors=GONE,
        )
        for name in BY_NAME
    ]


OPERATIONS: tuple[RestCall, ...] = (
    RestCall(
        "POST", "/api/chat", "Ask in one request: session, message and streamed answer", "streams",
        answer=EVENT_STREAM, body=schema.ChatRequest, errors=GONE,
        also={201: "With `stream: false`: the whole answer"}, parameters=RESUME,
    ),
    RestCall(
        "POST", "/api/chat/sessions", "Create a session", "sessions", status=201,
        answer=payloads.Session, body=schema.CreateSession, errors=(404, 409),
    ),
    RestCall(
        "GET", "/api/chat/sessions", "Your sessions, newest activity first", "sessions",
        answer=payloads.SessionPage, query=schema.ListSessions,
    ),
    RestCall("GET", S, "One session", "sessions", answer=payloads.SessionDetails, errors=(404,)),
    RestCall(
        "PATCH", S, "Change title, metadata or status", "sessions",
        answer=payloads.SessionDetails, body=schema.PatchSession, errors=GONE,
    ),
    RestCall(
        "DELETE", S, "Archive, or erase with `purge`", "sessions", answer=payloads.Ended, errors=(404, 409),
        parameters={"purge": ("query", {"type": "boolean", "default": False})},
    ),
    RestCall(
        "POST", f"{S}/extend", "Let it live longer", "sessions",
        answer=payloads.Extended, body=schema.ExtendSession, errors=GONE,
    ),
    RestCall(
        "GET", f"{S}/presence", "Who is online", "sessions", answer=payloads.PresenceList, errors=(404,)
    ),
    RestCall(
        "PUT", f"{S}/participants/{{user_id}}", "Add somebody, or change a role", "sessions",
        answer=payloads.Participants, body=schema.PutParticipant, errors=GONE,
    ),
    RestCall(
        "DELETE", f"{S}/participants/{{user_id}}", "Remove somebody", "sessions",
        answer=payloads.Participants, errors=GONE,
    ),
    RestCall(
        "GET", f"{S}/messages", "A page of the conversation", "messages",
        answer=payloads.HistoryReply, query=schema.History, leave_out=("session_id",), errors=(404,),
    ),
    RestCall(
        "GET", f"{S}/turns", "Questions to the agent, and how far their answers are", "messages",
        answer=payloads.TurnsReply, query=schema.Turns, leave_out=("session_id",), errors=(404,),
    ),
    RestCall(
        "POST", f"{S}/messages", "Send a message", "messages", status=201, answer=payloads.MessageCreated,
        body=schema.SendMessage, leave_out=("session_id",), errors=GONE, parameters=KEY,
    ),
    RestCall(
        "PATCH", f"{S}/messages/{{message_id}}", "Change one's own message", "messages",
        answer=payloads.EditedReply, body=schema.Edit, leave_out=("session_id", "message_id"), errors=GONE,
    ),
    RestCall(
        "DELETE", f"{S}/messages/{{message_id}}", "Delete a message; its tombstone stays", "messages",
        answer=payloads.ChangedReply, errors=GONE,
    ),
    RestCall(
        "GET", f"{S}/events", "The session's events as they happen", "messages", answer=EVENT_STREAM,
        errors=GONE,
        parameters={
            "Last-Event-ID": ("header", {"type": "string"}),
            "after": ("query", {"type": "string"}),
            "after_revision": ("query", WHOLE),
            "lineage": ("query", {"type": "string"}),
            "limit": ("query", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
        },
    ),
    RestCall(
        "POST", f"{S}/messages/stream", "Send a message and read the agent's answer", "streams",
        answer=EVENT_STREAM, body=schema.ChatRequest, leave_out=("session_id", "agent_id"), errors=GONE,
        also={201: "With `stream: false`: the whole answer"}, parameters={**KEY, **RESUME},
    ),
    RestCall(
        "GET", "/api/chat/streams/{message_id}", "A stream from where one was", "streams",
        answer=EVENT_STREAM, errors=GONE, also={204: "After the end: nothing more comes"},
        parameters={**RESUME, "from_index": ("query", WHOLE)},
    ),
    RestCall(
        "POST", "/api/chat/streams/{message_id}/cancel", "Stop a stream", "streams",
        answer=payloads.StreamCancelReply, errors=GONE,
    ),
    RestCall(
        "POST", "/v1/chat/completions", "OpenAI's chat completions: ask an agent", "openai",
        body=ChatCompletionRequest, errors=(400, *GONE), parameters=KEY,
        also={502: "The answer is not whole; its text so far is kept"},
    ),
    RestCall(
        "POST", "/v1/responses", "OpenAI's Responses: ask an agent", "openai",
        body=ResponseRequest, errors=(400, *GONE), parameters=KEY,
        also={502: "The answer is not whole; its text so far is kept"},
    ),
    RestCall(
        "GET", "/v1/responses/{response_id}", "A response as it is, or its events from one on", "openai",
        query=ResponseQuery, errors=(400, 404),
    ),
    RestCall("POST", "/v1/responses/{response_id}/cancel", "Stop a response", "openai", errors=GONE),
    RestCall(
        "GET", "/v1/responses/{response_id}/input_items", "What was asked", "openai",
        query=InputItemsQuery, errors=(400, 404),
    ),
    RestCall(
        "POST", "/api/ai/chat", "The AI SDK's chat: ask an agent, again or otherwise, or answer it", "ai sdk",
        answer=EVENT_STREAM, body=UIChatRequest, errors=(*GONE, 415), parameters={**KEY, **SDK, **AGENT},
    ),
    RestCall(
        "GET", "/api/ai/chat/{chat_id}/stream", "The answer that is open, from its beginning", "ai sdk",
        answer=EVENT_STREAM, also={204: "None is open"}, parameters=SDK,
    ),
    RestCall(
        "POST", "/api/ai/chat/{chat_id}/stop", "Stop it", "ai sdk", body=UIChatStop, answer=None, errors=GONE,
    ),
    RestCall(
        "POST", "/api/ag-ui/{agent_id}", "AG-UI: ask an agent, again, or answer it", "ag-ui",
        answer=EVENT_STREAM, body=RunInput, errors=(*GONE, 415),
    ),
    RestCall("GET", "/api/ag-ui/info", "The agents, as CopilotKit's runtime tells of them", "ag-ui"),
    RestCall(
        "POST", "/api/ag-ui/agent/{agent_id}/run", "The same as `/api/ag-ui/{agent_id}`", "ag-ui",
        answer=EVENT_STREAM, body=RunInput, errors=(*GONE, 415),
    ),
    RestCall(
        "POST", "/api/ag-ui/agent/{agent_id}/connect", "A thread, and the answer that is open", "ag-ui",
        answer=EVENT_STREAM, body=RunInput,
    ),
    RestCall(
        "POST", "/api/ag-ui/agent/{agent_id}/stop/{thread_id}", "Stop a run", "ag-ui", body=RunStop,
        errors=GONE,
    ),
    RestCall("GET", "/v1/models", "The agents, as OpenAI's models", "openai"),
    RestCall("GET", "/v1/models/{model}", "One of them", "openai", errors=(400, 404)),
    RestCall("GET", "/api/chat/agents", "The agents", "agents"),
    RestCall("POST", "/api/chat/agents", "Add an agent (`service`)", "agents", status=201, body=NewAgent),
    RestCall("GET", "/api/chat/agents/{agent_id}", "One agent", "agents", errors=(404,)),
    RestCall(
        "PATCH", "/api/chat/agents/{agent_id}", "Change an agent (`service`)", "agents", body=ChangedAgent,
        errors=(404,),
    ),
    RestCall(
        "DELETE", "/api/chat/agents/{agent_id}", "Delete an agent (`service`)", "agents", errors=(404,)
    ),
    RestCall(
        "POST", f"{S}/files", "Upload a file", "files", status=201, answer=payloads.Uploaded, upload=True,
        errors=(*GONE, 415),
    ),
    RestCall(
        "GET", "/api/chat/files/{file_id}/url", "A signed URL for `<img>`", "files",
        answer=payloads.SignedAddress, errors=(404,),
    ),
    RestCall(
        "GET", "/files/{file_id}", "A file's content", "files", answer="*/*", errors=(404,),
        also={206: "A range", 304: "Not modified", 416: "Not within the file"}, parameters=SIGNED,
    ),
    RestCall(
        "GET", "/files/{file_id}/thumb", "An image's thumbnail", "files", answer="*/*", errors=(404,),
        also={304: "Not modified"}, parameters=SIGNED,
    ),
    RestCall(
        "GET", "/api/chat/search", "Find what was said", "search", answer=payloads.SearchReply,
        query=SearchQuery, errors=(404,),
    ),
    RestCall(
        "POST", "/api/server/publish", "Send an event of your own", "server", body=Publish, errors=(404,)
    ),
    RestCall("POST", "/api/server/disconnect", "Disconnect a user", "server", body=Disconnect),
    RestCall("GET", "/api/server/stats", "Counts, per node", "server"),
    RestCall("GET", "/api/server/connections", "Open connections", "server", query=Connections),
    RestCall(
        "GET", "/api/server/feedback", "What readers think of messages, the newest first", "server",
        answer=payloads.FeedbackPage, query=FeedbackList,
    ),
    RestCall("DELETE", "/api/server/users/{user_id}", "Erase a user's messages and files", "server"),
    RestCall(
        "POST", W, "Send events to an address: a webhook", "server", status=201, answer=WebhookView,
        body=NewWebhook, errors=(404, 409),
    ),
    RestCall(
        "GET", W, "The webhooks of all sessions, or of one", "server", answer=WebhookList, query=WebhooksQuery
    ),
    RestCall("GET", f"{W}/{{webhook_id}}", "One webhook", "server", answer=WebhookView, errors=(404,)),
    RestCall(
        "PATCH", f"{W}/{{webhook_id}}", "Change a webhook, or enable it again", "server", answer=WebhookView,
        body=ChangedWebhook, errors=(404,),
    ),
    RestCall("DELETE", f"{W}/{{webhook_id}}", "Delete a webhook", "server", errors=(404,)),
    RestCall(
        "POST", f"{W}/{{webhook_id}}/rotate", "A new secret; the one before signs too for a day", "server",
        answer=WebhookView, body=RotatedSecret, errors=(404, 409),
    ),
    RestCall(
        "POST", f"{W}/{{webhook_id}}/replay", "Tell a session again", "server", body=ReplayWebhook,
        errors=(404,),
    ),
    RestCall(
        "GET", f"{W}/{{webhook_id}}/deliveries", "How far sessions were told, what was given up", "server",
        answer=DeliveriesPage, query=DeliveriesQuery, errors=(404,),
    ),
    *_commands(),
    RestCall(
        "POST", "/api/dev/token", "A token for development (`DEBUG`, loopback)", "operations", body=DevToken,
        public=True,
    ),
    RestCall("GET", "/healthz", "Whether the process lives", "operations", public=True),
    RestCall(
        "GET", "/readyz", "Whether this node should be given work", "operations", public=True,
        also={503: "It should not; `failing` names why"},
    ),
    RestCall("GET", "/metrics", "Prometheus metrics", "operations", answer="text/plain", public=True),
)  # fmt: skip

TAGS = {
    "sessions": "Chat sessions: a room and a stored conversation each",
    "messages": "What was said, and what happens as it happens",
    "streams": "Answers while they are being written",
    "files": "Uploads, downloads and signed URLs",
    "agents": "Who answers",
    "ai sdk": "For `useChat`: docs/doors.md",
    "ag-ui": "For AG-UI and CopilotKit: docs/doors.md",
    "openai": "For OpenAI's libraries: docs/doors.md",
    "commands": "The commands of the sockets, one request each",
    "search": "Finding what was said",
    "server": "For backend services (`role: service`)",
    "operations": "Health, metrics, development",
}
