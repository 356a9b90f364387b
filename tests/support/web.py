"""HTTP clients with one set of trusted certificates: to read them takes 20 ms of a processor, and tests make
thousands of clients."""

import ssl
from functools import cache
from typing import Any

import httpx


@cache
def trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def web_client(**how: Any) -> httpx.AsyncClient:
    """As `httpx.AsyncClient(trust_env=False, **how)`. Use it in `async with`."""
    return httpx.AsyncClient(verify=trusted(), trust_env=False, **how)
