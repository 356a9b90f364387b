"""Memory that the C library keeps after a burst, given back to the system."""

import asyncio
import ctypes

#: Seconds between two times.
INTERVAL = 10.0

#: glibc's; another C library has none, or needs none.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


async def give_back() -> None:
    """glibc returns only what lies at the heap's end: what an answer took in between would stay for good."""
    if _trim is not None:
        await asyncio.to_thread(_trim, 0)
