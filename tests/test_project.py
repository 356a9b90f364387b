"""What stands beside the code: the example settings, the Makefile, the lock file."""

import json
import re

from server.config import Settings
from tests.support.server import ROOT


def test_the_example_settings_are_all_settings_with_their_defaults() -> None:
    lines = re.findall(r"^# ([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert {name.lower() for name, _ in lines} == set(Settings.model_fields)
    defaults = Settings.model_construct()
    shown: dict[str, str] = {}
    for name, value in lines:
        shown.setdefault(name.lower(), value)
    for name, value in shown.items():
        default = getattr(defaults, name)
        # Where the default is "not set", or nothing at all, the example shows what one looks like.
        if default is None or default == ():
            continue
        if isinstance(default, bool):
            assert value == str(default).lower(), name
        elif isinstance(default, tuple):
            assert tuple(json.loads(value)) == default, name
        elif isinstance(default, (int, float)):
            assert float(value) == default, name
        else:
            assert value == str(default), name


def test_every_make_target_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (help .*)$", text, re.MULTILINE)
    assert targets
    for target in targets[1].split():
        assert re.search(rf"^{target}:.*## \S", text, re.MULTILINE), target


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((ROOT / "tests/js/package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


def test_how_to_report_is_told_where_one_looks() -> None:
    policy = (ROOT / "SECURITY.md").read_text()
    for part in ("## Reporting", "## What to expect", "## Supported versions"):
        assert part in policy
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text()
    assert "(../SECURITY.md)" in (ROOT / "docs/security.md").read_text()
