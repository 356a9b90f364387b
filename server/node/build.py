"""Everything of one node, wired in one order and not yet started: nothing is used before it is there."""

from dataclasses import dataclass

from events.commands import Commands
from events.dispatch import Dispatcher
from events.observer import Observer
from server.admission import Admission
from server.config import Settings
from server.identity.refresh import Refresh
from server.node.answers import Answers, build_answers
from server.node.core import Core, Outside
from server.node.delivering import Delivering, build_delivering
from server.node.gate import Gate, build_gate
from server.node.joins import Joins, build_joins
from server.node.members import Members, build_members
from server.node.stores import Stores, build_stores
from server.node.writing import Writing, build_writing
from server.services import Services


@dataclass(frozen=True)
class Node:
    """`services` are what doors and routes need of it."""

    core: Core
    stores: Stores
    delivering: Delivering
    gate: Gate
    members: Members
    writing: Writing
    joins: Joins
    answers: Answers
    admission: Admission
    services: Services


def build(settings: Settings, observer: Observer, outside: Outside | None = None, processes: int = 1) -> Node:
    """`processes` share the machine."""
    core = Core(settings, observer, outside or Outside(), processes)
    stores = build_stores(core)
    delivering = build_delivering(core, stores)
    gate = build_gate(core, stores, delivering)
    members = build_members(core, stores, delivering, gate.limits, gate.names)
    writing = build_writing(core, stores, delivering, members, gate.names)
    joins = build_joins(core, stores, delivering, members, writing, gate.names)
    answers = build_answers(core, stores, delivering, members, writing, gate.limits)
    admission = _admission(core, delivering, gate, members)
    dispatcher = _dispatcher(core, gate, members, writing, joins, answers)
    services = Services(
        settings=settings,
        observer=observer,
        clock=stores.clock,
        node_id=core.node_id,
        gate=gate,
        admission=admission,
        hub=delivering.hub,
        delivery=delivering.delivery,
        sessions=members.sessions,
        participation=members.participation,
        presence=members.presence,
        membership=members.membership,
        messages=writing.messages,
        streams=writing.streams,
        joining=joins.joining,
        takeover=joins.takeover,
        store=stores.messages,
        agents=stores.agents,
        answers=answers,
        dispatcher=dispatcher,
    )
    return Node(core, stores, delivering, gate, members, writing, joins, answers, admission, services)


def _dispatcher(
    core: Core, gate: Gate, members: Members, writing: Writing, joins: Joins, answers: Answers
) -> Dispatcher:
    commands = Commands(
        members.sessions,
        writing.messages,
        writing.streams,
        writing.statuses,
        answers.answering,
        answers.branching,
        answers.interrupts,
        members.membership,
        joins.joining,
        members.presence,
        members.typing,
        gate.limits,
        members.feedback,
        Refresh(gate.authenticator, members.membership, core.tasks),
    )
    return Dispatcher(commands, gate.limits, core.observer, members.stall)


def _admission(core: Core, delivering: Delivering, gate: Gate, members: Members) -> Admission:
    return Admission(
        delivering.hub,
        gate.places,
        gate.origins,
        gate.authenticator,
        gate.limits,
        members.membership,
        core.observer,
        gate.journal,
    )
