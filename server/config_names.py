"""Finds names that look like a setting's and are not: `SERVICE_PROT`, `CORS_ORIGIN`. Reads no environment."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

#: Likeness from 0 to 1. `JWT_SECRET` is reported (0.83, for JWT_SECRET_KEY), `REDIS_PASSWORD` is not (0.79).
LIKE = 0.82
PREFIX = "PARLEY_"
#: Kubernetes sets these for each service of a namespace; one that is called `parley` gets PARLEY_PORT.
_OF_KUBERNETES = ("_SERVICE_PORT", "_SERVICE_HOST")
#: Other programs' own, that are like ours by chance.
_OTHERS = frozenset(
    ("AWS_ENDPOINT_URL", "NIX_SSL_CERT_FILE", "SERVICE_HOST", "SSL_CERT_FILE", f"{PREFIX}PORT")
)


def misspelt(given: Iterable[str], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each name that is no setting, with the setting that was meant. Names unlike any are somebody else's."""
    settings = frozenset(known)
    for name in sorted(set(given) - settings - _OTHERS):
        if name.endswith(_OF_KUBERNETES):
            continue
        for spelling in (name.upper(), name.upper().removeprefix(PREFIX)):
            nearest = get_close_matches(spelling, settings, 1, LIKE)
            if nearest:
                yield name, nearest[0]
                break


def unknown(given: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """A line for each."""
    for name, meant in misspelt(given, known):
        yield f"{name} is no setting, and has no effect: did you mean {meant}?"
