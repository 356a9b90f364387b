"""The database of a node, its tables, and the time that goes by its clock."""

from dataclasses import dataclass

from events.clock import Clock
from events.storetime import StoreTime
from server import memory
from server.backends import blob_store
from server.imaging import Thumbnailer
from server.node.core import Core
from storage.agents import Agents
from storage.branches import Branches
from storage.database import Database
from storage.feedback import Feedbacks
from storage.files import Files
from storage.held import Holds
from storage.interfaces import BlobStore
from storage.lineage import Lineages
from storage.messages import Messages
from storage.notes import Notes
from storage.participants import Participants
from storage.paths import Paths
from storage.people import People
from storage.revocations import Revocations
from storage.sessions import Sessions
from storage.snapshot import SnapshotReader
from storage.tallies import Tallies
from storage.unread import UnreadReader


@dataclass(frozen=True)
class Stores:
    """`clock` is the database's, as far as it is known here; `token_clock` tells whether a token is good."""

    database: Database
    time: StoreTime
    clock: Clock
    token_clock: Clock
    sessions: Sessions
    messages: Messages
    branches: Branches
    paths: Paths
    participants: Participants
    agents: Agents
    feedback: Feedbacks
    files: Files
    contents: BlobStore
    pictures: Thumbnailer
    people: People
    revocations: Revocations
    snapshots: SnapshotReader
    lineages: Lineages
    notes: Notes
    held: Holds
    unread: UnreadReader
    tallies: Tallies


def build_stores(core: Core) -> Stores:
    database = core.outside.database(core.settings)
    tallies, notes = Tallies(database), Notes(database)
    time = StoreTime(core.outside.clock, core.outside.monotonic, database.time)
    return Stores(
        database=database,
        time=time,
        clock=time.now,
        # Others sign tokens. Where the database has a clock of its own it is the better judge of them.
        token_clock=time.now if database.dialect == "postgresql" else core.outside.clock,
        sessions=Sessions(database, tallies, notes),
        messages=Messages(database),
        branches=Branches(database),
        paths=Paths(database),
        participants=Participants(database, tallies),
        agents=Agents(database),
        feedback=Feedbacks(database, notes),
        files=Files(database),
        contents=blob_store(core.settings),
        pictures=Thumbnailer(memory.available() // core.processes),
        people=People(database),
        revocations=Revocations(database),
        snapshots=SnapshotReader(database),
        lineages=Lineages(database),
        notes=notes,
        held=Holds(database),
        unread=UnreadReader(database),
        tallies=tallies,
    )
