"""Fields that structs share are copied by name, and what is missing is found at import."""

import pytest
from msgspec import Struct, structs

from storage import records
from storage.ops import EndStream, NewMessage
from storage.records import Draft, MessageRecord, Outcome
from storage.rows import CHANGED, MESSAGE, NEW
from storage.shape import dict_maker, maker, names, rows_maker, shared


class Seed(Struct):
    kind: str
    weight: int
    bag: str = "jute"


class Plant(Struct):
    kind: str
    height: int
    weight: int = 1
    leaves: int = 0


def test_a_maker_copies_what_both_have() -> None:
    grown = maker(Plant, Seed, "height")
    assert grown(Seed("oak", 3), 20) == grown(Seed("oak", 3), height=20) == Plant("oak", 20, 3)
    light = maker(Plant, Seed, "height leaves", but="weight")
    assert light(Seed("oak", 3), 20, 7) == Plant("oak", 20, 1, 7)


def test_what_nothing_gives_is_found_at_once() -> None:
    with pytest.raises(TypeError, match=r"Plant\.height"):
        maker(Plant, Seed, "leaves")


def test_dicts_and_rows_have_their_fields_in_order() -> None:
    told = dict_maker(("weight", "height", "kind"), "height")(Seed("oak", 3), 20)
    assert list(told.items()) == [("weight", 3), ("height", 20), ("kind", "oak")]
    assert rows_maker(("weight", "kind"))([Seed("oak", 3), Seed("elm", 2)]) == [(3, "oak"), (2, "elm")]
    assert shared(Plant, Seed) == ("kind", "weight")


def test_what_is_said_of_a_message_are_its_records_fields() -> None:
    fields = set(names(MessageRecord))
    assert set(names(Draft)) | set(names(Outcome)) | records.FIXED | set(records.PLACE) <= fields
    assert set(records.TOMBSTONE) | set(records.BULK) <= fields
    assert issubclass(NewMessage, Draft)
    assert issubclass(EndStream, Outcome)


def test_every_field_is_written_with_the_first_row_or_with_a_change() -> None:
    defaults = {field.name for field in structs.fields(MessageRecord) if not field.required}
    assert set(NEW) | set(CHANGED) == set(names(MessageRecord)) == {column.name for column in MESSAGE}
    assert defaults - set(NEW) == {
        column.name for column in MESSAGE if column.nullable or column.server_default
    } - set(NEW)
    assert not set(CHANGED) & records.FIXED
