"""A client of Parley: sessions as observable stores, and workers that answer as agents."""

from parley_client.answer import Answer, AnswerFailed, ToolCall
from parley_client.errors import ParleyError
from parley_client.known import key_of
from parley_client.parley import Parley
from parley_client.session import SessionStore
from parley_client.sessions import SessionsStore
from parley_client.shown import (
    Connection,
    PendingMessage,
    SessionLine,
    SessionsState,
    SessionState,
    ShownMessage,
    Underway,
    sender_of,
)
from parley_client.storage import MemoryStorage, SqliteStorage, Storage
from parley_client.worker import Worker

__all__ = [
    "Answer",
    "AnswerFailed",
    "Connection",
    "MemoryStorage",
    "Parley",
    "ParleyError",
    "PendingMessage",
    "SessionLine",
    "SessionState",
    "SessionStore",
    "SessionsState",
    "SessionsStore",
    "ShownMessage",
    "SqliteStorage",
    "Storage",
    "ToolCall",
    "Underway",
    "Worker",
    "key_of",
    "sender_of",
]
