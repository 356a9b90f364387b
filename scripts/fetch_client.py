"""Fetch the official Socket.IO client for the playground, where npm is at hand.

The file lands in data/vendor/, from which the server serves it. Without npm, or without
its registry, the playground says what is missing and everything else works.
"""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "4.8.4"
FILE = "socket.io.esm.min.js"
TARGET = ROOT / "data" / "vendor" / FILE


def main() -> None:
    if TARGET.exists():
        return
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    installed = ROOT / "tests" / "js" / "node_modules" / "socket.io-client" / "dist" / FILE
    if installed.exists():
        shutil.copyfile(installed, TARGET)
        return
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not installed: the playground has no Socket.IO client (everything else works).")
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", f"socket.io-client@{VERSION}"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
            (archive,) = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as package:
                source = package.extractfile(f"package/dist/{FILE}")
                assert source is not None
                TARGET.write_bytes(source.read())
        except (subprocess.SubprocessError, OSError, tarfile.TarError, KeyError) as error:
            print(f"The playground has no Socket.IO client, npm could not fetch it: {error}")
            return
    print(f"Fetched socket.io-client {VERSION} for the playground.")


if __name__ == "__main__":
    main()
