"""Search over messages of parts: their text, names of files and tools, nothing of what a model thought."""

import sqlalchemy as sa

from storage.ops import DeleteMessage, EditMessage, EndStream
from storage.search import Scope
from storage.statement import Statement
from tests.search.conftest import Searched
from tests.storage.conftest import file_parts
from tests.storage.test_parts import EVERY


async def answered(searched: Searched, content: str = "It is cold.") -> str:
    done = await searched.say("", message_type="stream", status="streaming")
    name = done.record.message_id
    await searched.writer.submit(EndStream("s", name, "complete", content, parts=EVERY))
    return name


async def test_what_is_found_of_an_answer(searched: Searched) -> None:
    await searched.session()
    name = await answered(searched)
    words = "cold", "weather", '"the weather"', "forecast.pdf", "hm", "ulm", "sig", "example", "chart"
    found = {
        word: [(one["message_id"], one["snippet"]) for one in await searched.ask(word)] for word in words
    }
    text = "It is cold.\nweather\nThe weather\nforecast.pdf"
    assert found == {
        "cold": [(name, text.replace("cold", "<mark>cold</mark>"))],
        "weather": [(name, text.replace("weather", "<mark>weather</mark>"))],
        '"the weather"': [(name, text.replace("The weather", "<mark>The weather</mark>"))],
        "forecast.pdf": [(name, text.replace("forecast.pdf", "<mark>forecast.pdf</mark>"))],
        "hm": [], "ulm": [], "sig": [], "example": [], "chart": [],
    }  # fmt: skip


async def test_an_edit_and_a_deletion_count_at_once(searched: Searched) -> None:
    await searched.session()
    parts = [*file_parts("f1"), {"type": "text", "id": "text", "text": "one"}]
    await searched.files.add(searched.file(file_name="<plan>.png"))
    name = (await searched.say("one", message_type="file", parts=parts)).record.message_id
    assert await searched.texts("plan") == ["one\n&lt;plan&gt;.png"]
    await searched.writer.submit(EditMessage("s", name, "two", "user", "alice"))
    assert (await searched.texts("one"), await searched.texts("plan")) == ([], ["two\n&lt;plan&gt;.png"])
    await searched.writer.submit(DeleteMessage("s", name))
    assert await searched.ask("plan") == []


async def test_names_stand_alone_where_there_is_no_text(searched: Searched) -> None:
    await searched.session()
    await answered(searched, "")
    assert await searched.texts("weather") == ["weather\nThe weather\nforecast.pdf"]


async def test_files_of_before_there_were_parts_are_found(searched: Searched) -> None:
    await searched.session()
    await searched.files.add(searched.file(file_name="old plan.png"))
    await searched.say("", message_type="file", parts=file_parts("f1"))
    await searched.db.execute(Statement(sa.text("UPDATE chat_messages SET parts = NULL")))
    assert await searched.texts("plan") == ["old plan.png"]


async def test_the_index_is_made_anew_over_parts(searched: Searched) -> None:
    await searched.session()
    name = await answered(searched)
    assert len(await searched.ask("forecast")) == 1
    for table in ("chat_search", "search_marks"):
        await searched.db.execute(Statement(sa.text(f"DELETE FROM {table}")))
    assert await searched.index.behind(10) == ["s"]
    assert [one["message_id"] for one in await searched.ask("forecast")] == [name]


async def test_what_a_window_reads_is_bounded_by_the_size_of_parts(searched: Searched) -> None:
    await searched.session()
    for _ in range(4):
        await searched.say("fox", parts=[{"type": "data", "id": "d", "name": "n", "data": "x" * 6000}])
    assert len(await searched.ask("fox")) == 4
    found = await searched.index.find(Scope("alice"), ["fox"], [])
    some, more = await found.window(1 << 62, 200, 10_000)
    assert ([number for number, _ in some], more) == ([4, 3], True)
    rest, _ = await found.window(2, 200, 10_000)
    assert [number for number, _ in rest] == [2, 1]
