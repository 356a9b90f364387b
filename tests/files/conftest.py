"""Servers that keep files in a folder and in S3; a real S3-compatible server process."""

import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import psutil
import pytest

from tests.support.processes import end, free_port, listening, spawn, wait_until
from tests.support.server import Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3-compatible server."""
    port, log = free_port(), tmp_path_factory.mktemp("s3") / "log"
    process = spawn([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], log=log)
    wait_until(lambda: listening(port), process, log)
    yield f"http://127.0.0.1:{port}"
    end(process)


def new_bucket(endpoint: str) -> str:
    bucket = f"contents-{secrets.token_hex(6)}"
    httpx.put(f"{endpoint}/{bucket}", trust_env=False).raise_for_status()
    return bucket


@pytest.fixture
def s3(s3_server: str) -> tuple[str, str]:
    """An endpoint and an empty bucket there."""
    return s3_server, new_bucket(s3_server)


@dataclass
class Storage:
    """Where a server keeps its contents, seen from outside of it."""

    server: Server
    kind: str
    endpoint: str = ""
    bucket: str = ""

    def contents(self) -> set[str]:
        if self.kind == "local":
            folder = self.server.folder / "data" / "files"
            return {path.name for path in folder.rglob("*") if path.is_file()}
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        try:
            return {one["Key"] for one in client.list_objects_v2(Bucket=self.bucket).get("Contents", [])}
        finally:
            client.close()

    def resident(self) -> int:
        """Bytes of memory of the server and what it started."""
        process = psutil.Process(self.server.pid)
        return int(process.memory_info().rss)

    def outside(self) -> set[Path]:
        """Files of the server's folder that belong neither to the storage nor to the server itself."""
        known = ("parley.db", "server.log")
        found = {
            path.relative_to(self.server.folder) for path in self.server.folder.rglob("*") if path.is_file()
        }
        return {path for path in found if path.parts[0] != "data" and not path.name.startswith(known)}


def s3_settings(endpoint: str, bucket: str) -> dict[str, str]:
    return {
        "FILE_STORAGE_TYPE": "s3",
        "S3_BUCKET_NAME": bucket,
        "S3_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


@pytest.fixture(scope="module", params=["local", "s3"])
def storage(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Storage]:
    """One server of each kind for all tests of a file: each compares with what it found there."""
    folder = tmp_path_factory.mktemp("storage")
    settings, endpoint, bucket = {}, "", ""
    if request.param == "s3":
        endpoint = request.getfixturevalue("s3_server")
        bucket = new_bucket(endpoint)
        settings = s3_settings(endpoint, bucket)
    with Server.on_sqlite(sqlite_template, folder, **settings) as server:
        yield Storage(server, request.param, endpoint, bucket)
