"""The revisions that this program knows, oldest first, by their files' names: without alembic's import."""

from pathlib import Path

VERSIONS = Path(__file__).parent / "versions"


def revisions() -> list[str]:
    return sorted(path.stem.partition("_")[0] for path in VERSIONS.glob("[0-9]*_*.py"))
