"""Builds what tells webhooks of a node's commits."""

from dataclasses import dataclass

from events.agents.upstreams import Upstreams
from events.webhooks.service import WebhookService
from events.webhooks.teller import Teller
from server.config_rules import is_loopback
from server.node.build import Node
from storage.telling import TellingStore
from storage.webhooks import Webhooks


@dataclass(frozen=True)
class Hooks:
    teller: Teller
    service: WebhookService


def build_hooks(node: Node) -> Hooks:
    settings, stores = node.core.settings, node.stores
    store, telling = Webhooks(stores.database), TellingStore(stores.database)
    upstreams = Upstreams(
        settings.webhook_hosts, loopback=is_loopback(settings.host), setting="WEBHOOK_HOSTS"
    )
    teller = Teller(
        store,
        telling,
        stores.notes,
        stores.messages,
        upstreams.admits,
        stores.clock,
        node.core.observer,
        seconds=settings.webhook_timeout,
        longest=settings.webhook_retry_max,
        patience=settings.webhook_disable_days * 86400.0,
    )
    node.core.after_commit.follow(teller.on_committed)

    def heard(channel: str, body: bytes) -> None:
        node.core.tasks.spawn(teller.refresh())

    node.core.signals.on("webhooks", heard)
    bus, spread = node.delivering.backends.bus, node.delivering.outage is not None

    def tell_nodes() -> None:
        if spread:
            bus.signal("all", "webhooks", b"")

    service = WebhookService(store, telling, stores.sessions, teller, upstreams, stores.clock, tell_nodes)
    return Hooks(teller, service)
