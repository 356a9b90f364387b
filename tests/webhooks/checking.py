"""A hook as a Python function, for PUBLISH_HOOK_CALL."""

from typing import Any


async def check(data: dict[str, Any]) -> dict[str, Any] | None:
    if "forbidden" in data["content"]:
        return {"action": "reject", "reason": "not here"}
    return None
