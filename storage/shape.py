"""Fields that structs share, copied by name. The functions are written out at import, as `dataclasses` writes
`__init__`: a call costs what the same lines by hand would. Knows no struct of ours.
"""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from itertools import takewhile
from typing import Any, TypeVar

from msgspec import Struct, structs

T = TypeVar("T")


def names(of: type[Struct], *but: str) -> tuple[str, ...]:
    """The fields of a struct, in order."""
    return tuple(name for name in of.__struct_fields__ if name not in but)


def shared(target: type[Struct], source: type[Struct], *but: str) -> tuple[str, ...]:
    """The fields that both have, in the order of `target`."""
    return tuple(name for name in names(target, *but) if name in source.__struct_fields__)


def maker(target: type[T], source: type[Struct], given: str, but: str = "") -> Callable[..., T]:
    """A function of a `source` and of the fields `given`: a `target` with these, and with all that both have.
    Fields in `but` keep their default. Names have spaces between, as with `namedtuple`.

    Raises TypeError where a field that `target` needs comes from neither.
    """
    assert issubclass(target, Struct)
    more = given.split()
    copied = shared(target, source, *more, *but.split())
    for field in structs.fields(target):
        if field.required and field.name not in (*more, *copied):
            raise TypeError(f"nothing gives {target.__name__}.{field.name}")
    values = {**{name: f"source.{name}" for name in copied}, **{name: name for name in more}}
    first = tuple(takewhile(values.__contains__, _positional(target)))
    named = [f"{name}={value}" for name, value in values.items() if name not in first]
    return _function(more, f"made({', '.join([*map(values.__getitem__, first), *named])})", made=target)


def dict_maker(fields: Iterable[str], given: str = "") -> Callable[..., dict[str, Any]]:
    """A function of a source and of what is `given`: a dict of these and of the source's `fields`, in this
    order, but that what is given stands where `fields` name it."""
    fields, more = tuple(fields), given.split()
    order = (*fields, *(name for name in more if name not in fields))
    pairs = (f"{name!r}: {name if name in more else f'source.{name}'}" for name in order)
    return _function(more, f"{{{', '.join(pairs)}}}")


def rows_maker(fields: Iterable[str]) -> Callable[[Iterable[Any]], list[tuple[Any, ...]]]:
    """A function of many sources: a tuple of the `fields` of each."""
    row = ", ".join(f"source.{name}" for name in fields)
    made: Callable[..., Any] = eval(f"lambda sources: [({row},) for source in sources]")
    return made


def _positional(of: type[Struct]) -> list[str]:
    """The fields that it takes by their place: msgspec needs a third of the time for them."""
    return [p.name for p in signature(of).parameters.values() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]


def _function(given: Iterable[str], body: str, **known: Any) -> Callable[..., Any]:
    parameters = ", ".join(("source", *given))
    made: Callable[..., Any] = eval(f"lambda {parameters}: {body}", known)
    return made
