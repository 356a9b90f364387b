"""`/api/chat/agents`: everybody may see them, `service` creates, changes and deletes."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Raw, Struct, ValidationError, structs
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from events.access import Caller
from events.agents.base import Agent
from events.errors import AgentNotFound, Forbidden, ValidationFailed
from events.event import to_json
from events.identity import agent_id
from events.schema import WhenBusy
from events.wording import invalid
from server.agents import NAMES
from server.routes.common import call, caller_of, perform, reply
from server.routes.reading import body_of, services_of, struct_of
from server.services import Services
from storage.records import AgentLine, AgentRecord

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Url = Annotated[str, Meta(max_length=2000)]
if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[NAMES]


class NewAgent(Struct, kw_only=True):
    """`config` of an `openai` agent names the environment variable that holds the key, never the key."""

    name: Name
    kind: Kind
    avatar_url: Url | None = None
    config: dict[str, Any] | None = None
    is_active: bool = True
    when_busy: WhenBusy = "queue"


class ChangedAgent(Struct, kw_only=True):
    name: Name | None = None
    kind: Kind | None = None
    avatar_url: Url | None = None
    config: dict[str, Any] | None = None
    is_active: bool | None = None
    when_busy: WhenBusy | None = None


def _view(agent: AgentRecord, caller: Caller) -> dict[str, Any]:
    shown = {
        "id": agent.id,
        "name": agent.name,
        "avatar_url": agent.avatar_url,
        "kind": agent.kind,
        "is_active": agent.is_active,
        "when_busy": agent.when_busy,
    }
    return shown | {"config": agent.config} if _sees_all(caller) else shown


async def _told(agents: Iterable[AgentLine]) -> AsyncIterator[bytes]:
    """One after the other: configurations may be large, and have no bound together."""
    before = b'{"agents":['
    for agent in agents:
        yield before + to_json(_line(agent))
        before = b","
    yield b"]}" if before == b"," else before + b"]}"


def _line(agent: AgentLine) -> dict[str, Any]:
    shown = structs.asdict(agent)
    config = shown.pop("config")
    return shown if config is None else shown | {"config": Raw(config.encode())}


def _id(request: Request) -> int:
    number = agent_id(request.path_params["agent_id"])
    if number is None:
        raise AgentNotFound
    return number


def _check(name: str, config: dict[str, Any], kinds: Mapping[str, Agent]) -> None:
    """Raises ValidationFailed."""
    if any(secret in config for secret in ("api_key", "key", "secret")):
        raise ValidationFailed("name the environment variable in api_key_env, never the key", field="config")
    try:
        if (kind := kinds.get(name)) is not None:
            kind.check(config)
    except ValidationError as error:
        raise invalid(error, "config") from error
    except ValueError as error:
        raise ValidationFailed(str(error), field="config") from error


async def list_all(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    everything = _sees_all(caller)
    found = await services.agents.lines(with_config=everything)
    if everything:
        return StreamingResponse(_told(found), media_type="application/json")
    return reply({"agents": [_line(agent) for agent in found if _seen(agent, caller)]})


async def get(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    agent = await services.agents.get(_id(request))
    if agent is None or not _seen(agent, caller):
        raise AgentNotFound
    return reply(_view(agent, caller))


def _seen(agent: AgentLine | AgentRecord, caller: Caller) -> bool:
    return agent.is_active or _sees_all(caller)


def _sees_all(caller: Caller) -> bool:
    return caller.role == "service" and caller.sessions is None


def _service(caller: Caller) -> Caller:
    if not _sees_all(caller):
        raise Forbidden
    return caller


async def create(request: Request) -> Response:
    services, caller = services_of(request), _service(await caller_of(request))
    body = struct_of(NewAgent, await body_of(request))
    config = body.config or {}
    _check(body.kind, config, services.answers.kinds)
    agent = await perform(
        request,
        services.agents.create,
        name=body.name,
        kind=body.kind,
        avatar_url=body.avatar_url,
        config=config,
        is_active=body.is_active,
        when_busy=body.when_busy,
    )
    await services.answers.answering.learn()
    return reply(_view(agent, caller), 201)


async def change(request: Request) -> Response:
    services, caller = services_of(request), _service(await caller_of(request))
    body = struct_of(ChangedAgent, await body_of(request))
    return reply(_view(await perform(request, _changed, services, _id(request), body), caller))


async def _changed(services: Services, number: int, body: ChangedAgent) -> AgentRecord:
    known = await services.agents.get(number)
    if known is None:
        raise AgentNotFound
    if body.kind is not None or body.config is not None:
        config = known.config if body.config is None else body.config
        _check(body.kind or known.kind, config, services.answers.kinds)
    changes = {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not None}
    agent = await services.agents.update(number, **changes)
    if agent is None:
        raise AgentNotFound
    await services.answers.answering.learn()
    return agent


async def delete(request: Request) -> Response:
    services, _ = services_of(request), _service(await caller_of(request))
    if not await perform(request, services.agents.delete, _id(request)):
        raise AgentNotFound
    return reply({"message": "Agent deleted", "id": _id(request)})


BASE = "/api/chat/agents"
ROUTES = [
    call("GET", BASE, list_all),
    call("POST", BASE, create),
    call("GET", BASE + "/{agent_id}", get),
    call("PATCH", BASE + "/{agent_id}", change),
    call("DELETE", BASE + "/{agent_id}", delete),
]
