"""Frames against the AsyncAPI document, every object closed: an undocumented field is a failure."""

from typing import Any

import jsonschema

Json = dict[str, Any]


def closed(schema: Any) -> Any:
    """The schema with no room for fields that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if found.get("type") == "object" and "properties" in found and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


class Validators:
    def __init__(self, document: Json) -> None:
        self._components = closed(document["components"])
        self._messages = self._components["messages"]

    def check(self, message: str, data: Json) -> None:
        """Raises AssertionError with what is wrong."""
        payload = self._messages[message]["payload"]
        if message.endswith("_reply"):
            # `ok` stands beside the reply's own fields: checked apart, as one closed object cannot be two.
            data = dict(data)
            ok = data.pop("ok")
            done, failed = payload["anyOf"]
            payload = done["allOf"][0] if ok else failed["properties"]["error"]
            data = data if ok else data["error"]
        validator = jsonschema.Draft202012Validator({**payload, "components": self._components})
        problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]
        assert not problems, f"{message}: {problems[:3]} in {data}"
