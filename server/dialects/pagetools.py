"""Tools that a request of a page brings, as the question has them. Knows no dialect."""

from collections.abc import Sequence
from typing import Any

import msgspec

from events.pagetools import PageTool, PageTools
from events.wording import invalid


def page_tools(given: Sequence[dict[str, Any]]) -> list[PageTool] | None:
    """None where it brings none. `given` have name, description and parameters. Raises ValidationFailed."""
    try:
        return msgspec.convert(given, PageTools) or None
    except msgspec.ValidationError as error:
        raise invalid(error, "tools") from error
