"""`GET /api/chat/search`."""

from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from events.schema import SessionId
from server.routes.common import call, caller_of, features_of, reply
from server.routes.reading import query_of


class SearchQuery(Struct, kw_only=True):
    """Words, `"phrases"`, `-without`. `cursor` is what the page before this one gave."""

    q: Annotated[str, Meta(min_length=1, max_length=1000)]
    session_id: SessionId | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    cursor: Annotated[str, Meta(max_length=1000)] | None = None


async def search(request: Request) -> Response:
    caller = await caller_of(request)
    ask = query_of(SearchQuery, request)
    found = await features_of(request).search.search(caller, ask.q, ask.session_id, ask.limit, ask.cursor)
    return reply(found)


ROUTES = [call("GET", "/api/chat/search", search)]
