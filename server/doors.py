"""The doors of a node that one reaches by a connection, and the way to other nodes' doors."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from starlette.routing import BaseRoute

from server import admin
from server.engine.protocol import HEAD_LIMIT
from server.engine.requests import FRAME_OVERHEAD, OriginCheck
from server.engine.server import Server
from server.engine.strangers import Strangers, places_for
from server.forwarding import Forwarding
from server.identity import peer
from server.node.build import Node
from server.services import Services
from server.transports.codecs import SocketIOCodec
from server.transports.listed import TRANSPORTS
from server.transports.socketio import SocketIODoor
from server.transports.sse import EventStreamDoor

#: Bytes that one of them may send in one message: a token as long as a request's head may be.
STRANGERS_MESSAGE = HEAD_LIMIT + FRAME_OVERHEAD


@dataclass(frozen=True)
class Doors:
    """`routes` lead to those of the transports that are reached by one. `forwarding` is there where there may
    be other nodes; `end_admin` where an operator may look in."""

    sio: Server
    routes: Sequence[BaseRoute]
    event_streams: EventStreamDoor
    forwarding: Forwarding | None
    end_admin: Callable[[], Awaitable[None]] | None


def build_doors(node: Node) -> Doors:
    services, forwarding = node.services, _forwarding(node)
    sio = socketio_server(services, forwarding)
    return Doors(
        sio=sio,
        routes=[route for transport in TRANSPORTS if transport.offer for route in transport.offer(services)],
        event_streams=EventStreamDoor(services),
        forwarding=forwarding,
        end_admin=admin.offer(sio, services, time.monotonic),
    )


@asynccontextmanager
async def open_doors(doors: Doors) -> AsyncIterator[None]:
    """Their part of a node's life."""
    async with AsyncExitStack() as stack:
        if doors.forwarding is not None:
            stack.push_async_callback(doors.forwarding.close)
        if doors.end_admin is not None:
            stack.push_async_callback(doors.end_admin)
        yield


def _forwarding(node: Node) -> Forwarding | None:
    cluster, settings, services = node.delivering.backends.cluster, node.core.settings, node.services
    if cluster is None:
        return None
    return Forwarding(
        node.core.node_id,
        lambda owner: cluster.presence.address(f"node_{owner}"),
        lambda scope: services.address_of(scope.get("client"), scope["headers"]),
        cluster.key,
        time.monotonic,
        patience=settings.ws_heartbeat_interval + settings.ws_ping_timeout,
        most=settings.ws_max_connections,
        max_body=settings.ws_frame_size_limit + FRAME_OVERHEAD,
        place_of=peer.places(settings),
        processes=node.core.processes,
    )


def socketio_server(services: Services, forwarding: Forwarding | None) -> Server:
    settings, pages = services.settings, services.gate.origins
    most = places_for(settings.ws_max_connections)
    strangers = Strangers(most, peer.places(settings))
    sio = Server(
        door=SocketIODoor(services),
        codec=SocketIOCodec(),
        hub=services.hub,
        outbox_limit=settings.outbox_limit,
        connect_timeout=settings.auth_timeout,
        origins=OriginCheck(pages.admits, lambda origin: pages.refusal(origin).as_dict()),
        ping_interval=settings.ws_heartbeat_interval,
        ping_timeout=settings.ws_ping_timeout,
        max_size=settings.ws_frame_size_limit + FRAME_OVERHEAD,
        stranger_limit=STRANGERS_MESSAGE,
        payload_limit=settings.ws_message_size_limit,
        elsewhere=forwarding.elsewhere if forwarding is not None else None,
        strangers=strangers,
        place=lambda scope: strangers.place_of(services.address_of(scope["client"], scope["headers"])),
        # The Admin UI shows all of them.
        keep=peer.read_at_the_door if settings.admin_password is None else None,
    )
    if forwarding is not None:
        sio.engine.generate_id = forwarding.new_sid
    return sio
