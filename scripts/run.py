"""`make run`: settings for trying things out, migrations, then the server.

A value that the environment or `.env` gives always wins over the ones here.
"""

import os
import subprocess
import sys
from pathlib import Path

from dotenv import dotenv_values

DEFAULTS = {
    "DEBUG": "true",
    "WS_CREATE_SESSIONS": "true",
    "DATABASE_URL": "sqlite:///data/parley.db",
    "LOG_FORMAT": "console",
}


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    os.chdir(root)
    Path("data").mkdir(mode=0o700, exist_ok=True)
    given = {name.upper() for name in (*os.environ, *dotenv_values(".env"))}
    for name, value in DEFAULTS.items():
        if name not in given:
            os.environ[name] = value
    # Its revision is of use to scripts; what goes wrong is told on stderr.
    migrate = subprocess.run([sys.executable, "-m", "server", "migrate"], stdout=subprocess.DEVNULL)
    if migrate.returncode:
        sys.exit(migrate.returncode)
    # Replaced, not nested: Ctrl-C and SIGTERM reach the server itself.
    os.execv(sys.executable, [sys.executable, "-m", "server", "serve"])


if __name__ == "__main__":
    main()
