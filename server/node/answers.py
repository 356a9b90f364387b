"""Builds what answers users' messages: kinds of agents on this node, and workers on any."""

from collections.abc import Mapping
from dataclasses import dataclass

from events.agents.base import Agent
from events.agents.nodes import OtherNodes
from events.agents.remote import HandOut, Workers
from events.agents.replies import Replies
from events.asking import Asking
from events.ratelimit import RateLimits
from server.agents import kinds_of
from server.node.core import Core
from server.node.delivering import Delivering
from server.node.members import Members
from server.node.stores import Stores
from server.node.writing import Writing


@dataclass(frozen=True)
class Answers:
    kinds: Mapping[str, Agent]
    replies: Replies
    asking: Asking


def build_answers(
    core: Core,
    stores: Stores,
    delivering: Delivering,
    members: Members,
    writing: Writing,
    limits: RateLimits,
) -> Answers:
    kinds, workers = kinds_of(core.settings), Workers(delivering.hub)
    nodes: OtherNodes | None = None
    if delivering.outage is not None:
        nodes = OtherNodes(delivering.backends.bus, core.node_id, workers.has, workers.offer, core.tasks)
        core.signals.on("workers", nodes.heard)
    replies = Replies(
        stores.agents,
        stores.messages,
        writing.messages,
        writing.streams,
        kinds,
        HandOut(workers, nodes.ask if nodes is not None else None),
        first_word=core.settings.stream_lease,
        most=core.settings.max_streams_per_user,
    )
    # The way from delivery up to who waits for an answer: answers are streams, and streams are delivered.
    delivering.delivery.on_stream_start = replies.started
    asking = Asking(members.sessions, writing.messages, replies, members.typing, limits)
    return Answers(kinds, replies, asking)
