"""`make docs`: write again what is generated from the code; with `--pictures` the screenshots, too.

`--check` writes nothing and fails if anything would change.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def generated() -> dict[Path, str]:
    from server.contract.tables import filled
    from server.contract.typescript import declarations

    template = (ROOT / "docs" / "templates" / "protocol.md").read_text()
    return {
        ROOT / "docs" / "protocol.md": filled(template),
        ROOT / "clients" / "parley-events.d.ts": declarations(),
    }


def main() -> None:
    check = "--check" in sys.argv
    stale = []
    for path, text in generated().items():
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.relative_to(ROOT).as_posix())
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"wrote {stale[-1]}")
    if check and stale:
        sys.exit(f"not as the code says, run `make docs`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
