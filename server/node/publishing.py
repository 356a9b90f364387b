"""Builds the hook before publishing, where the settings name one."""

import importlib
import ssl
from functools import cache
from typing import Any

from events.agents.upstreams import split
from events.clock import Clock
from events.uncommitted import Submits, Uncommitted
from events.webhooks.gate import BESIDES, Asks, PublishGate, by_address, by_call
from events.webhooks.requests import HookTarget
from events.webhooks.signatures import key_of
from server.config import Settings
from server.node.core import Core


def has_hook(settings: Settings) -> bool:
    return settings.publish_hook_url is not None or settings.publish_hook_call is not None


def guarded(core: Core, uncommitted: Uncommitted, clock: Clock) -> Submits:
    """What messages and edits go through; without a hook, what it would guard."""
    hooks = _hooks(core, clock)
    if not hooks:
        return uncommitted
    settings = core.settings
    return PublishGate(
        uncommitted,
        hooks,
        core.observer,
        core.tasks,
        seconds=settings.publish_hook_timeout,
        open_=settings.publish_hook_failure == "open",
        largest=settings.ws_message_size_limit,
    )


def _hooks(core: Core, clock: Clock) -> list[Asks]:
    settings, hooks = core.settings, []
    if settings.publish_hook_call is not None:
        hooks.append(by_call(_function(settings)))
    if settings.publish_hook_url is not None:
        assert settings.publish_hook_secret is not None  # `config_rules` sees to it
        origin, path = split(settings.publish_hook_url)
        largest = settings.ws_message_size_limit + BESIDES
        # The operator's own address, wherever it is.
        target = HookTarget(origin, path, lambda *_: True, core.tasks, _context, largest)
        hooks.append(by_address(target, key_of(settings.publish_hook_secret), clock))
    return hooks


def _function(settings: Settings) -> Any:
    """Raises ImportError, AttributeError: the node does not start."""
    module, _, name = (settings.publish_hook_call or "").partition(":")
    return getattr(importlib.import_module(module), name)


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
