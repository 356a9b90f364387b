"""`make migration m="…"`: write what `storage/tables.py` has and the migrations lack.

Compared with a fresh database brought up by the migrations, so it does not matter which
database `DATABASE_URL` names, or how far that one is.
"""

import sys
import tempfile

from alembic import command

from migrations.run import configuration, upgrade


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/fresh.db"
        upgrade(url)
        command.revision(configuration(url), message=sys.argv[1], autogenerate=True)


if __name__ == "__main__":
    main()
