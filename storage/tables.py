"""The schema, as SQLAlchemy Core metadata. Knows no queries."""

import sqlalchemy as sa

from storage.types import Big, Document, Time

#: Ids are opaque; ours are shorter, imported ones keep theirs.
ID_LENGTH = 100
#: A token's `sub`.
USER_LENGTH = 255
#: What a token says of its user.
NAME_LENGTH, AVATAR_LENGTH = 255, 1000
#: Of a reader's feedback.
COMMENT_LENGTH = 2000
MODEL_LENGTH = 200

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def _one_of(column: str, *values: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


agents = sa.Table(
    "agents",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("avatar_url", sa.String(2000)),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("config", Document, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("when_busy", sa.String(20), nullable=False, server_default="queue"),
    # The id of a deleted agent is not given to another one: tokens for it may still be about.
    sqlite_autoincrement=True,
)

sessions = sa.Table(
    "chat_sessions",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column("session_id", sa.String(ID_LENGTH), nullable=False, unique=True),
    sa.Column("trace_id", sa.String(ID_LENGTH), nullable=False, unique=True),
    sa.Column("user_id", sa.String(USER_LENGTH), nullable=False),
    sa.Column("agent_id", sa.Integer, sa.ForeignKey("agents.id", ondelete="SET NULL")),
    sa.Column("title", sa.String(200)),
    sa.Column("status", sa.String(20), nullable=False, index=True),
    sa.Column("metadata", Document, nullable=False),
    sa.Column("ttl_hours", sa.Double, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("updated_at", Time, nullable=False),
    sa.Column("last_activity", Time, nullable=False),
    sa.Column("expires_at", Time, nullable=False, index=True),
    sa.Column("last_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_revision", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("message_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("request_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("ended_at", Time),
    sa.Column("created_via", sa.String(50)),
    sa.Column("ip_address", sa.String(100)),
    sa.Column("user_agent", sa.String(500)),
    # Somebody has given feedback on a message: only then is it looked for.
    sa.Column("rated", sa.Boolean, nullable=False, server_default=sa.false()),
    # Where its path ends (`storage.tree`); NULL: it has no branches, and the path is all messages.
    sa.Column("head_seq", sa.BigInteger),
    sa.Column("head_id", sa.String(ID_LENGTH)),
    # `last_activity`, ten minutes behind at most (`storage.recency`), moved by a trigger; NULL: not yet.
    sa.Column("listed_at", Time, index=True),
    sa.Index(None, "user_id", "listed_at"),
    sa.Index(None, "agent_id", "listed_at"),
    _one_of("status", "active", "archived", "deleted"),
    sa.CheckConstraint("ttl_hours > 0", name="ttl_hours"),
    sa.CheckConstraint("last_seq >= 0 AND last_revision >= last_seq AND message_count >= 0", name="counters"),
    # What has expired and is not yet marked as ended: few rows among all that ever expired.
    sa.Index(
        "chat_sessions_ending_idx",
        "expires_at",
        postgresql_where=sa.text("status = 'active' AND ended_at IS NULL"),
        sqlite_where=sa.text("status = 'active' AND ended_at IS NULL"),
    ),
)

messages = sa.Table(
    "chat_messages",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column(
        "session_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("chat_sessions.session_id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("message_id", sa.String(ID_LENGTH), nullable=False, unique=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("client_message_id", sa.String(USER_LENGTH)),
    sa.Column("sender_type", sa.String(20), nullable=False),
    sa.Column("sender_id", sa.String(USER_LENGTH), nullable=False, index=True),
    sa.Column("message_type", sa.String(20), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("metadata", Document, nullable=False),
    # No foreign key: the writer looks under the lock of the session, and rows leave only with their session.
    sa.Column("reply_to", sa.String(ID_LENGTH)),
    sa.Column("created_at", Time, nullable=False, index=True),
    sa.Column("error", Document),
    sa.Column("tokens_used", sa.BigInteger),
    sa.Column("latency_ms", sa.BigInteger),
    sa.Column("is_edited", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("edited_at", Time),
    sa.Column("deleted_at", Time),
    sa.Column("finish_reason", sa.String(20)),
    sa.Column("usage", Document),
    sa.Column("model", sa.String(MODEL_LENGTH)),
    sa.Column("parts", Document),
    # What it follows; NULL: the message before it by `seq`. Number 0: none, it begins the conversation.
    sa.Column("parent_seq", sa.BigInteger),
    sa.Column("parent_id", sa.String(ID_LENGTH)),
    sa.Column("interrupts", Document),
    sa.UniqueConstraint("session_id", "seq"),
    sa.UniqueConstraint("session_id", "revision"),
    sa.UniqueConstraint(
        "session_id",
        "sender_type",
        "sender_id",
        "client_message_id",
        name="chat_messages_client_message_id_key",
    ),
    _one_of("sender_type", "user", "agent", "system"),
    _one_of("message_type", "text", "stream", "file", "system"),
    _one_of("status", "complete", "streaming", "waiting", "cancelled", "interrupted", "failed"),
    sa.CheckConstraint("seq > 0 AND revision >= seq", name="counters"),
    # The janitor looks for open streams; there are few among many messages.
    sa.Index(
        "chat_messages_streaming_idx",
        "session_id",
        postgresql_where=sa.text("status = 'streaming'"),
        sqlite_where=sa.text("status = 'streaming'"),
    ),
    # Where branches begin (`storage.tree`).
    sa.Index(
        "chat_messages_forks_idx",
        "session_id",
        "seq",
        "parent_seq",
        postgresql_where=sa.text("parent_seq <> seq - 1"),
        sqlite_where=sa.text("parent_seq <> seq - 1"),
    ),
    # What a person has answered is looked for, to be erased.
    sa.Index(
        "chat_messages_interrupts_idx",
        "session_id",
        postgresql_where=sa.text("interrupts IS NOT NULL"),
        sqlite_where=sa.text("interrupts IS NOT NULL"),
    ),
    # Those whose turn was ended by something else are looked for; there are fewer still.
    sa.Index(
        "chat_messages_waiting_idx",
        "session_id",
        postgresql_where=sa.text("status = 'waiting'"),
        sqlite_where=sa.text("status = 'waiting'"),
    ),
)

#: Questions to agents, and how far their answers are (docs/turns.md). `claimed_until`: the node that begins
#: the answer, or goes on with it, has so long for it. `stopped`: it is to end, whichever node does it.
#: `written`: what the answer's stream was written in when it began to wait, with which it goes on
#: (`storage.pieces`). `tools`: the page's, of this question alone. No foreign key to the messages, as with
#: `reply_to`.
turns = sa.Table(
    "chat_turns",
    metadata,
    sa.Column("question_id", sa.String(ID_LENGTH), primary_key=True),
    sa.Column(
        "session_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("chat_sessions.session_id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("agent_id", sa.Integer, nullable=False),
    sa.Column("when_busy", sa.String(20), nullable=False),
    sa.Column("state", sa.String(20), nullable=False, server_default="queued"),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("answer_id", sa.String(ID_LENGTH)),
    sa.Column("outcome", sa.String(20)),
    sa.Column("claimed_until", Time),
    sa.Column("stopped", sa.Boolean, nullable=False, server_default=sa.false()),
    # The session's last number when it was asked again; 0: it was not.
    sa.Column("again_seq", sa.BigInteger, nullable=False, server_default="0"),
    # Which of those it was that were asked again at the same number.
    sa.Column("again_order", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("expires_at", Time),
    sa.Column("written", Document),
    sa.Column("tools", Document),
    _one_of("state", "queued", "running", "waiting", "done"),
    # All of a session, and a page of them.
    sa.Index(None, "session_id", "seq"),
    # Few are open among all that ever were.
    sa.Index(
        "chat_turns_open_idx",
        "session_id",
        "seq",
        postgresql_where=sa.text("state <> 'done'"),
        sqlite_where=sa.text("state <> 'done'"),
    ),
    # Few of these were stopped before their answer began.
    sa.Index(
        "chat_turns_unanswered_idx",
        "session_id",
        "seq",
        postgresql_where=sa.text("state = 'done' AND answer_id IS NULL"),
        sqlite_where=sa.text("state = 'done' AND answer_id IS NULL"),
    ),
)

_SHARED = "joined_at IS NOT NULL AND removed_at IS NULL AND role <> 'owner'"

participants = sa.Table(
    "chat_participants",
    metadata,
    sa.Column(
        "session_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("chat_sessions.session_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("user_id", sa.String(USER_LENGTH), primary_key=True, index=True),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("read_seq", sa.BigInteger, nullable=False, server_default="0"),
    # NULL: no participant, only the read mark of one who may read for another reason.
    sa.Column("joined_at", Time),
    sa.Column("removed_at", Time, index=True),
    # The session's.
    sa.Column("listed_at", Time),
    _one_of("role", "owner", "member", "viewer"),
    # What one takes part in and does not own.
    sa.Index(
        "chat_participants_shared_idx",
        "user_id",
        "listed_at",
        postgresql_where=sa.text(_SHARED),
        sqlite_where=sa.text(_SHARED),
    ),
    sa.Index(
        "chat_participants_unlisted_idx",
        "session_id",
        postgresql_where=sa.text("listed_at IS NULL AND role <> 'owner'"),
        sqlite_where=sa.text("listed_at IS NULL AND role <> 'owner'"),
    ),
    sa.CheckConstraint("read_seq >= 0", name="read_seq"),
)

#: How many messages are there of a session's `width` numbers that follow `block * width`: of each sender, and
#: in all (`storage.tallies`).
tallies = sa.Table(
    "chat_tallies",
    metadata,
    sa.Column(
        "session_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("chat_sessions.session_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("sender", sa.String(300), primary_key=True),
    sa.Column("width", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("live", sa.BigInteger, nullable=False),
)

files = sa.Table(
    "chat_files",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column("file_id", sa.String(ID_LENGTH), nullable=False, unique=True),
    sa.Column(
        "session_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("chat_sessions.session_id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column(
        "message_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("chat_messages.message_id", ondelete="CASCADE"),
        index=True,
    ),
    sa.Column("file_name", sa.String(255), nullable=False),
    sa.Column("file_type", sa.String(255), nullable=False),
    sa.Column("file_size", sa.BigInteger, nullable=False),
    sa.Column("file_url", sa.String(2000), nullable=False),
    sa.Column("thumbnail_url", sa.String(2000)),
    sa.Column("uploaded_by", sa.String(USER_LENGTH), nullable=False, index=True),
    sa.Column("uploaded_at", Time, nullable=False),
    sa.CheckConstraint("file_size >= 0", name="file_size"),
)

#: Tokens of this identity (a key, as participants have it) issued up to `not_before` are refused.
revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("user_id", sa.String(USER_LENGTH), primary_key=True),
    sa.Column("not_before", Time, nullable=False),
)

#: How far the search index reaches: all changes of a session up to `reach`, and its title if it is `title`.
#: `revision` is for nodes of an earlier version, whose index had another form. No foreign key, as the index
#: has none: a trigger takes a mark away with its session.
search_marks = sa.Table(
    "search_marks",
    metadata,
    sa.Column("id", Big, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("reach", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("title", sa.String(200)),
)

#: What users are called, as their last tokens said. `user_id` is a key, as in participants; `seen`: when a
#: token of theirs was last written down, which is at least once an hour in which one comes.
people = sa.Table(
    "people",
    metadata,
    sa.Column("user_id", sa.String(USER_LENGTH), primary_key=True),
    sa.Column("name", sa.String(NAME_LENGTH)),
    sa.Column("avatar_url", sa.String(AVATAR_LENGTH)),
    sa.Column("seen", Time),
)

#: What readers think of messages; one of each reader and message. `user_id` is a key. No foreign key to the
#: messages, as with `reply_to`.
feedback = sa.Table(
    "chat_feedback",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column(
        "session_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("chat_sessions.session_id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("message_id", sa.String(ID_LENGTH), nullable=False),
    sa.Column("user_id", sa.String(USER_LENGTH), nullable=False, index=True),
    sa.Column("value", sa.String(20), nullable=False),
    sa.Column("comment", sa.String(COMMENT_LENGTH)),
    sa.Column("given_at", Time, nullable=False, index=True),
    sa.UniqueConstraint("message_id", "user_id"),
    _one_of("value", "up", "down"),
    sa.Index("chat_feedback_session_id_idx", "session_id", "given_at"),
)

#: Where events are sent to (docs/webhooks.md). `session_id`: of this session alone. `old_secret` signs too
#: until `old_until`. `swept_at`: sessions that were active before it are told whole.
webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("webhook_id", sa.String(ID_LENGTH), primary_key=True),
    sa.Column(
        "session_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("chat_sessions.session_id", ondelete="CASCADE"),
        index=True,
    ),
    sa.Column("url", sa.String(2000), nullable=False),
    sa.Column("events", Document, nullable=False),
    sa.Column("secret", sa.String(200), nullable=False),
    sa.Column("old_secret", sa.String(200)),
    sa.Column("old_until", Time),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("failing_since", Time),
    sa.Column("error", sa.String(200)),
    sa.Column("swept_at", Time, nullable=False),
)

#: How far each session is told to each webhook: all changes up to `revision`, all messages up to `seq` but
#: those of `untold` (ranges), all of `webhook_events` up to `event_id`. Who has the claim `fence` sends until
#: `held_until`. No foreign key to the session: that it is gone is told, too.
webhook_cursors = sa.Table(
    "webhook_cursors",
    metadata,
    sa.Column(
        "webhook_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("webhooks.webhook_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("session_id", sa.String(ID_LENGTH), primary_key=True, index=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("untold", Document),
    sa.Column("event_id", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("held_until", Time),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error", sa.String(200)),
    sa.Column("told_at", Time),
)

#: Events that no revision tells of, written with what they tell, where somebody is to be told. `user_id`: of
#: whom they say something. `revision`: the session's last one then.
webhook_events = sa.Table(
    "webhook_events",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column("session_id", sa.String(ID_LENGTH), nullable=False),
    sa.Column("name", sa.String(ID_LENGTH), nullable=False),
    sa.Column("event", sa.String(20), nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("user_id", sa.String(USER_LENGTH), index=True),
    sa.Column("data", Document, nullable=False),
    sa.Column("at", Time, nullable=False, index=True),
    sa.Index("webhook_events_session_id_idx", "session_id", "id"),
    # How far they were told goes by the id.
    sqlite_autoincrement=True,
)

#: Events that a webhook was not to be brought to take.
webhook_dead = sa.Table(
    "webhook_dead",
    metadata,
    sa.Column("id", Big, primary_key=True),
    sa.Column(
        "webhook_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("webhooks.webhook_id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("session_id", sa.String(ID_LENGTH), nullable=False, index=True),
    sa.Column("name", sa.String(ID_LENGTH), nullable=False),
    sa.Column("event", sa.String(20), nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.String(200), nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Index("webhook_dead_webhook_id_idx", "webhook_id", "id"),
)

#: Leases of nodes that are cut off from Redis: for the nodes themselves, and for the streams that they write.
held = sa.Table(
    "held",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("until", Time, nullable=False),
)

#: At most one row: this database is being filled from another one, and is not whole yet.
unfinished_copies = sa.Table(
    "unfinished_copies",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("source", sa.String(100), nullable=False),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("progress", Document, nullable=False),
    sa.CheckConstraint("id = 1", name="one"),
)

#: One row. `origin` is PostgreSQL's own name of the history that the lineage was begun on.
lineage = sa.Table(
    "lineage",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(40), nullable=False),
    sa.Column("origin", sa.String(100)),
    sa.CheckConstraint("id = 1", name="one"),
)


def is_ours(name: str | None, kind: str, _parents: object = None) -> bool:
    """For Alembic's `include_name`: the index itself is each database's own kind of table."""
    return kind != "table" or not (name or "").startswith("chat_search")
