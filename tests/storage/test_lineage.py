"""A lineage is begun anew where the database went back, also behind the beginning of the lineage itself."""

import sqlalchemy as sa

from events.history import History
from events.observer import Observer
from storage.lineage import Lineages, following, is_later
from storage.statement import Statement
from storage.tables import lineage
from tests.storage.conftest import Store

_PUT = Statement(lineage.update().values(name=sa.bindparam("name")))


def test_names_are_in_order() -> None:
    first = following()
    second = following(first)
    assert is_later(second, first) and not is_later(first, second)
    assert is_later(following("5f0e3a7c21d4"), "5f0e3a7c21d4"), "of the time before they were numbered"
    assert is_later(following(first, following(second)), following(second)), "after whatever was known"
    assert not is_later(following(first), following(first)), "two histories that began after the same"


async def test_a_database_that_goes_back_behind_the_beginning_of_its_lineage(store: Store) -> None:
    """A copy was made after it had gone back, and before anybody noticed: it has the lineage's old name,
    under which clients hold what was lost the first time."""
    lineages = Lineages(store.db)
    nodes = [History(lineages, Observer(), lambda: 0.0) for _ in range(2)]
    for node in nodes:
        await node.check()
    copied = (await lineages.read()).name
    await nodes[0].went_back(copied, "a message is not there")
    await nodes[1].check()
    second = nodes[0].name
    assert nodes[1].name == second != copied
    await store.db.execute(_PUT, name=copied)
    for node in nodes:
        await node.check()
    assert nodes[0].name == nodes[1].name == (await lineages.read()).name
    assert nodes[0].name not in (copied, second) and is_later(nodes[0].name, second)
