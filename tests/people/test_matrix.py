"""The matrix of docs/operations.md is that of tests/matrix.py, and each of its rows has tests that are there.
WRITE_DOCS=1 writes it again."""

import ast
import os

import pytest

from tests.matrix import HEAD, ROWS, Row
from tests.support.server import ROOT

DOCUMENT = ROOT / "docs" / "operations.md"


def test_the_document_has_the_rows() -> None:
    text = DOCUMENT.read_text()
    start = text.index(HEAD[0])
    end = text.index("\n\n", start)
    wanted = "\n".join((*HEAD, *(row.line() for row in ROWS)))
    if os.environ.get("WRITE_DOCS"):
        DOCUMENT.write_text(text[:start] + wanted + text[end:])
    assert text[start:end] == wanted


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.part} {row.mode}")
def test_a_row_is_tried(row: Row) -> None:
    assert row.tests or row.works.startswith("no:")
    for name in row.tests:
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        found = {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in found if function else any(each.startswith("test_") for each in found), name


def test_what_is_delivered_is_tried() -> None:
    """Each proxy that has a folder in deploy/ has its row."""
    folders = {path.name for path in (ROOT / "deploy").iterdir() if path.is_dir()} - {"kubernetes"}
    assert folders == {each.split("/")[1] for row in ROWS for each in [row.setting] if "deploy/" in each}
