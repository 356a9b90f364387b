"""schemathesis against the server's own /openapi.json: nothing it finds to say."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.server import Server

CONFIG = """
[checks]
# What a JSON Schema cannot say is refused all the same, with 422: strict JSON (no NUL, no lone surrogates, no
# 1.0 for a count), a cursor of another search, the owner's removal; 410 is a session that has expired.
positive_data_acceptance.expected-statuses = [
    "2xx", "401", "403", "404", "409", "410", "413", "415", "422", "429", "5xx",
]
negative_data_rejection.expected-statuses = [
    "400", "401", "403", "404", "405", "406", "409", "410", "413", "415", "422", "428", "429", "431", "5xx",
]

[[operations]]
# `stream` could be a message's id: what may be done to that is allowed here, too.
include-path = "/api/chat/sessions/{session_id}/messages/stream"
checks.allow_header_conformance.enabled = false

[[operations]]
# OpenAI's libraries name it 400.
include-path-regex = "^/v1/"
checks.positive_data_acceptance.expected-statuses = [
    "2xx", "400", "401", "403", "404", "409", "410", "413", "415", "429", "5xx",
]

[[operations]]
# A form has no types: what is sent as a number is text when it arrives.
include-path = "/api/chat/sessions/{session_id}/files"
checks.negative_data_rejection.enabled = false
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("phases", "examples"),
    [("fuzzing", "5"), pytest.param("coverage,fuzzing", "40", marks=pytest.mark.faults)],
)
async def test_schemathesis_finds_nothing(house: Server, tmp_path: Path, phases: str, examples: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [
        "run",
        f"{house.url}/openapi.json",
        "--header",
        f"Authorization: Bearer {house.token('schema', 'service')}",
        # An event stream has no end to wait for.
        "--exclude-path-regex=/events$",
        f"--phases={phases}",
        f"--max-examples={examples}",
        "--seed=7",
        # More would parse Python in several threads at once, which before 3.11.8 sometimes fails (gh-106905).
        "--workers=1",
        "--suppress-health-check=all",
        "--request-timeout=20",
        "--warnings=off",
        "--no-shrink",
        "--continue-on-failure",
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        *command,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    told = "\n".join(line[:300] for line in output.decode().splitlines())
    assert process.returncode == 0, told[-9000:]
