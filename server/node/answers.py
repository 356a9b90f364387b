"""Builds what answers users' messages: kinds of agents on this node, and workers on any."""

from collections.abc import Mapping
from dataclasses import dataclass

from events.agents.attachments import ModelFiles
from events.agents.base import Agent
from events.agents.nodes import OtherNodes
from events.agents.remote import HandOut, Workers
from events.agents.replies import Replies
from events.answering import Answering
from events.asking import Asking
from events.branching import Branching
from events.files import signed_path
from events.interrupts import Interrupts
from events.ratelimit import RateLimits
from server.agents import kinds_of
from server.node.core import Core, signer
from server.node.delivering import Delivering
from server.node.members import Members
from server.node.stores import Stores
from server.node.writing import Writing
from storage.questions import Questions


@dataclass(frozen=True)
class Answers:
    kinds: Mapping[str, Agent]
    replies: Replies
    answering: Answering
    asking: Asking
    branching: Branching
    interrupts: Interrupts


def build_answers(
    core: Core,
    stores: Stores,
    delivering: Delivering,
    members: Members,
    writing: Writing,
    limits: RateLimits,
) -> Answers:
    kinds, workers = kinds_of(core.settings, _attachments(core, stores)), Workers(delivering.hub)
    nodes: OtherNodes | None = None
    if delivering.outage is not None:
        nodes = OtherNodes(delivering.backends.bus, core.node_id, workers.has, workers.offer, core.tasks)
        core.signals.on("workers", nodes.heard)
    replies = Replies(
        stores.agents,
        stores.messages,
        writing.messages,
        writing.streams,
        writing.statuses,
        kinds,
        HandOut(workers, nodes.ask if nodes is not None else None),
        stores.clock,
        first_word=core.settings.stream_lease,
        most=core.settings.max_streams_per_user,
    )
    questions = Questions(stores.database)
    interrupts = Interrupts(writing.writer, writing.uncommitted, stores.messages, questions, stores.clock)
    answering = Answering(
        questions,
        stores.agents,
        stores.messages,
        writing.messages,
        writing.streams,
        replies,
        delivering.delivery,
        stores.clock,
    )
    core.after_commit.follow(answering.on_committed)
    core.signals.on("stopped", lambda channel, body: answering.stopped(body))
    core.signals.on("steer", lambda channel, body: answering.steering.heard(body))
    # The way from delivery up to who waits for an answer: answers are streams, and streams are delivered.
    delivering.delivery.on_stream_start = answering.started
    asking = Asking(members.sessions, writing.messages, replies, answering, members.typing, limits)
    branching = Branching(stores.branches, answering, delivering.delivery, stores.clock)
    return Answers(kinds, replies, answering, asking, branching, interrupts)


def _attachments(core: Core, stores: Stores) -> ModelFiles:
    """A model's server can ask for a file where the settings say how this one is reached from outside."""
    settings, sign = core.settings, signer(core.settings, "files")

    def address(file_id: str) -> str:
        assert settings.base is not None
        return settings.base + signed_path(sign, file_id, int(stores.clock() + settings.file_url_ttl))

    return ModelFiles(stores.contents, stores.pictures, address if settings.base is not None else None)
