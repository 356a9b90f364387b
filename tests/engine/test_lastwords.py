"""What a polling client that was not there hears of its end: once, it alone, and in bounds."""

from server.engine.lastwords import MOST, MOST_BYTES, LastWords


def test_they_are_heard_once_by_who_opened_the_session() -> None:
    words = LastWords(20)
    words.keep("a", b"alice", b"why", 0)
    words.keep("b", None, b"why", 0)
    assert words.take("a", None) is None and words.take("a", b"bob") is None
    assert words.take("a", b"alice") == b"why" and words.take("a", b"alice") is None
    assert words.take("b", None) == b"why"
    assert words.take("c", None) is None


def test_they_are_bounded_by_time_number_and_bytes() -> None:
    words = LastWords(20)
    words.keep("a", None, b"why", 0)
    words.keep("b", None, b"why", 20)
    assert words.take("a", None) is None
    for n in range(MOST + 10):
        words.keep(str(n), None, b"why", 20)
    assert words.take("9", None) is None and words.take("10", None) == b"why"
    large = MOST_BYTES // 4
    for n in range(10):
        words.keep(f"large {n}", None, bytes(large), 20)
    assert [n for n in range(10) if words.take(f"large {n}", None)] == [6, 7, 8, 9]
    words.keep("too large", None, bytes(MOST_BYTES + 1), 20)
    assert words.take("too large", None) is None and words._bytes == 0
