"""Fetch the published files that the playground runs, by npm or without it; check their hashes at each start.

They land in data/vendor/, from which the server serves them. Where no registry can be reached, the playground
says what is missing and everything else works.
"""

import io
import os
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from server.vendor import Pin, pins

ROOT = Path(__file__).resolve().parent.parent
#: npm's own default (https://docs.npmjs.com/cli/using-npm/config#registry).
REGISTRY = "https://registry.npmjs.org/"
#: The largest file is esbuild, with 12 MB; an archive has less.
MAX_BYTES = 16 * 1024 * 1024


class NotFetched(Exception):
    """Why this way did not lead to the file."""


def main(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> None:
    for name, pin in pins().items():
        fetch(root / "data" / "vendor" / name, pin, environ, root)


def fetch(
    target: Path, pin: Pin, environ: Mapping[str, str], root: Path = ROOT, whose: str = "playground"
) -> bool:
    """One of the files, if it is not there as it was published; whether it is there now."""
    if target.is_file():
        if pin.fits(target.read_bytes()):
            return True
        print(f"{target.relative_to(root)} is not the file of {pin.package} {pin.version}: fetching it anew.")
    ways: list[Callable[[], bytes]] = [
        lambda: installed(root, pin),
        lambda: by_npm(pin, environ),
        lambda: from_registry(pin, settings(root, environ)),
    ]
    reasons = []
    for way in ways:
        try:
            content = way()
        except NotFetched as reason:
            reasons.append(str(reason))
            continue
        if pin.fits(content):
            put(target, content)
            print(f"Fetched {pin.package} {pin.version} for the {whose}.")
            return True
        reasons.append("the download has another hash")
    print(f"The {whose} has no {pin.package} ({'; '.join(reasons)}); everything else works.")
    return False


def installed(root: Path, pin: Pin) -> bytes:
    """What the tests have installed."""
    file = root / "tests" / "js" / "node_modules" / pin.package / pin.path.removeprefix("package/")
    try:
        return file.read_bytes()
    except OSError:
        raise NotFetched("the tests' packages are not installed") from None


def by_npm(pin: Pin, environ: Mapping[str, str]) -> bytes:
    npm = shutil.which("npm", path=environ.get("PATH"))
    if npm is None:
        raise NotFetched("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--ignore-scripts", f"{pin.package}@{pin.version}"]
        try:
            subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, timeout=60)
            (archive,) = Path(folder).glob("*.tgz")
            return unpacked(archive.read_bytes(), pin)
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            raise NotFetched(f"npm could not fetch it: {type(error).__name__}") from error


def from_registry(pin: Pin, given: Mapping[str, str]) -> bytes:
    """The package's archive over HTTP, from the registry that npm would ask."""
    base = given.get("registry", REGISTRY).rstrip("/")
    url = f"{base}/{pin.package}/-/{pin.package.rpartition('/')[2]}-{pin.version}.tgz"
    context = ssl.create_default_context()
    try:
        for name in ("cafile", "extra_ca_certs"):
            if given.get(name):
                context.load_verify_locations(given[name])
        with urllib.request.urlopen(url, timeout=30, context=context) as answer:
            archive = answer.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise NotFetched(f"the registry could not be reached: {error}") from error
    if len(archive) > MAX_BYTES:
        raise NotFetched("the registry's archive is too large")
    return unpacked(archive, pin)


def unpacked(archive: bytes, pin: Pin) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as package:
            member = package.getmember(pin.path)
            source = package.extractfile(member)
            if source is None or member.size > MAX_BYTES:
                raise NotFetched("the package has no such file")
            return source.read()
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise NotFetched(f"the package cannot be read: {type(error).__name__}") from error


def settings(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """As npm reads its settings: the environment over the project's npmrc, the user's and the machine's."""
    home = Path(environ.get("HOME", "/"))
    of_npm = {
        name.lower().removeprefix("npm_config_"): value
        for name, value in environ.items()
        if name.lower().startswith("npm_config_") and value
    }
    files = [
        root / ".npmrc",
        Path(of_npm.get("userconfig", home / ".npmrc")),
        Path(of_npm.get("globalconfig", "/etc/npmrc")),
    ]
    found: dict[str, str] = {}
    for file in reversed(files):
        found |= dict(lines(file))
    if environ.get("NODE_EXTRA_CA_CERTS"):
        found["extra_ca_certs"] = environ["NODE_EXTRA_CA_CERTS"]
    return found | of_npm


def lines(file: Path) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError):
        return
    for line in text.splitlines():
        name, given, value = line.partition("=")
        if given and not name.lstrip().startswith(("#", ";")):
            yield name.strip(), os.path.expandvars(value.strip().strip("\"'"))


def put(target: Path, content: bytes) -> None:
    """Whole or not at all: a server may be reading."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}-{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(target)


if __name__ == "__main__":
    main()
