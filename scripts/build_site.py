"""Builds the documentation into `server/site/`, which the server serves at `/docs/`: `make site`.

The documents stay where a reader of the repository looks for them. Here they are gathered under the site's
own addresses, and their links are made to fit: to another page, or none where the target is no page. With
`--strict` a link that leads nowhere is a failure.
"""

import argparse
import fcntl
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "server" / "site"
sys.path.insert(0, str(ROOT))

#: The order of the pages. A pattern stands for all files that are there and named nowhere else.
SECTIONS: dict[str, list[str]] = {
    "Begin": ["README.md", "README.ko.md"],
    "Tutorial": [
        "docs/tutorial/model.md",
        "docs/tutorial/page.md",
        "docs/tutorial/cors.md",
        "docs/tutorial/names.md",
        "docs/tutorial/approval.md",
        "docs/tutorial/nodes.md",
        "docs/tutorial/*.md",
    ],
    "Clients": ["docs/clients.md", "clients/*/README.md", "examples/README.md", "examples/*/README.md"],
    "Guides": [
        "docs/streams.md",
        "docs/agents.md",
        "docs/turns.md",
        "docs/people.md",
        "docs/doors.md",
        "docs/webhooks.md",
        "docs/search.md",
        "docs/data.md",
        "docs/testing.md",
        "docs/*.md",
    ],
    "Operations": [
        "docs/operations.md",
        "docs/recovery.md",
        "docs/security.md",
        "docs/troubleshooting.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ],
    "Reference": [],
    "Inside": [
        "docs/architecture.md",
        "docs/conformance.md",
        "docs/compared.md",
        "bench/README.md",
        "docs/adr/*.md",
        "CONTRIBUTING.md",
        "docs/state.md",
    ],
}
#: The contract in words comes before what is generated.
CONTRACT = "docs/protocol.md"
#: Pages of their own name; all others have that of their file, or of its folder.
NAMES = {"README.md": "index.md", "README.ko.md": "ko.md", "SECURITY.md": "vulnerabilities.md"}
PICTURES = ("docs/pictures", "bench/plots")
#: Marks of what is generated; and links, in Markdown and in HTML.
MARKS = re.compile(r"<!--.*?-->\n?", re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))|((?:src|href)=\")([^\"]+)(\")")


def chosen() -> dict[str, list[str]]:
    """The documents of each section that are there, as paths in the repository."""
    named = {path for paths in SECTIONS.values() for path in paths if "*" not in path} | {CONTRACT}

    def found(path: str) -> list[str]:
        if "*" not in path:
            return [path] if (ROOT / path).is_file() else []
        files = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.glob(path))
        return [each for each in files if each not in named and "node_modules" not in each]

    return {title: [file for path in paths for file in found(path)] for title, paths in SECTIONS.items()}


def address(path: str) -> str:
    """Where a document of the repository is in the site's sources."""
    if path in NAMES:
        return NAMES[path]
    pure = PurePosixPath(path)
    if pure.name == "README.md":
        return f"{pure.parent}.md"
    inside = pure.relative_to("docs") if pure.is_relative_to("docs") else pure
    return str(inside).lower()


def fitted(path: str, text: str, pages: dict[str, str]) -> str:
    """The document at `path` with links that fit its place in the site. `pages`: path -> address."""
    here = PurePosixPath(pages[path]).parent

    def place(target: str) -> str | None:
        """None: no page, and no picture."""
        if re.match(r"[a-z]+:|#", target):
            return target
        file, _, fragment = target.partition("#")
        inside = os.path.normpath(PurePosixPath(path).parent / file)
        there = pages.get(inside) or pages.get(f"{inside}/README.md")
        if there is None and inside.startswith(PICTURES):
            there = inside.removeprefix("docs/")
        if there is None:
            return None
        return os.path.relpath(there, here) + (f"#{fragment}" if fragment else "")

    def link(found: re.Match[str]) -> str:
        before, target, after = found[1] or found[4], found[2] or found[5], found[3] or found[6]
        return f"{before}{place(target) or 'NOWHERE'}{after}"

    def prose(piece: str) -> str:
        piece = LINK.sub(link, MARKS.sub("", piece))
        return re.sub(r"\[([^\[\]]*)\]\(NOWHERE\)", r"\1", piece)

    # Code stays as it is; a block's title stands in the text before it.
    pieces = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        re.sub(r"^```(\w*)[^\n]*", r"```\1", piece) if piece.startswith("```") else prose(piece)
        for piece in pieces
    )


def gather(folder: Path) -> list[dict[str, list[Any]]]:
    """The sources in `folder`; the navigation."""
    from server.contract import reference

    sections = chosen()
    pages = {path: address(path) for paths in sections.values() for path in paths} | {CONTRACT: "protocol.md"}
    for path, there in pages.items():
        put(folder / there, fitted(path, (ROOT / path).read_text(), pages))
    generated = reference.pages()
    for name, text in generated.items():
        put(folder / "reference" / name, text)
    for pictures in PICTURES:
        shutil.copytree(ROOT / pictures, folder / pictures.removeprefix("docs/"), dirs_exist_ok=True)
    for file in (ROOT / "docs" / "theme").iterdir():
        if file.suffix in (".css", ".js", ".json"):
            shutil.copyfile(file, folder / file.name)
    shutil.copyfile(ROOT / "server" / "web" / "icon.svg", folder / "icon.svg")
    put(folder / "code.css", colours())
    shown: dict[str, list[Any]] = {
        title: [named(pages[path]) for path in paths] for title, paths in sections.items()
    }
    shown["Reference"] = ["protocol.md", *(f"reference/{name}" for name in generated)]
    return [{title: listed} for title, listed in shown.items() if listed]


def colours() -> str:
    """Of code, by day and by night."""
    from pygments.formatters import HtmlFormatter

    styles = (HtmlFormatter(style=style).get_style_defs(".codehilite") for style in ("xcode", "github-dark"))
    day, night = (re.sub(r"background(-color)?: [^;]+;? ?", "", each) for each in styles)
    return f"{day}\n@media (prefers-color-scheme: dark) {{\n{night}\n}}\n"


def named(page: str) -> str | dict[str, str]:
    """In the navigation: a page is called by its heading, but for the README that has the same one."""
    return {"한국어": page} if page == NAMES["README.ko.md"] else page


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def slug(text: str, _: str) -> str:
    """A heading's name in links, as GitHub has it."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def built(folder: Path, strict: bool) -> Path:
    """The site, in a folder below this one. Raises properdocs' Abort for a link that leads nowhere."""
    from properdocs.commands.build import build
    from properdocs.config import load_config

    sources, site = folder / "sources", folder / "site"
    nav = gather(sources)
    given = {"docs_dir": str(sources), "site_dir": str(site), "strict": strict, "nav": nav}
    config = load_config(str(ROOT / "docs" / "properdocs.yml"), **given)
    contents = {"slugify": slug, "permalink": "#", "permalink_title": "Link", "toc_depth": "2-3"}
    config.mdx_configs["toc"] = contents
    build(config)
    return site


def fresh(site: Path) -> bool:
    """Whether it was built after the last change of what it is made of."""
    home = site / "index.html"
    if not home.exists():
        return False
    folders = [ROOT / name for name in ("docs", "bench", "clients", "examples", "events", "server/contract")]
    sources = [Path(__file__), *ROOT.glob("*.md")]
    for folder in folders:
        for place, below, files in os.walk(folder):
            below[:] = [name for name in below if name not in ("node_modules", "__pycache__")]
            sources += [Path(place) / name for name in files]
    return max(file.stat().st_mtime for file in sources if file.exists()) <= home.stat().st_mtime


@contextmanager
def alone(site: Path) -> Iterator[None]:
    """While this one looks and builds, no other does."""
    site.parent.mkdir(parents=True, exist_ok=True)
    with (site.parent / ".site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure(site: Path = SITE, *, strict: bool = False, always: bool = False) -> None:
    with alone(site):
        if not always and fresh(site):
            return
        with tempfile.TemporaryDirectory() as name:
            made = built(Path(name), strict)
            for waste in ("sitemap.xml", "sitemap.xml.gz"):
                (made / waste).unlink(missing_ok=True)
            shutil.rmtree(site, ignore_errors=True)
            shutil.move(made, site)
        print(f"Built the documentation: {len(list(site.rglob('*.html')))} pages.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="a link that leads nowhere is a failure")
    parser.add_argument("--if-needed", action="store_true", help="not where it is built already")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    ensure(strict=given.strict, always=not given.if_needed)


if __name__ == "__main__":
    main()
