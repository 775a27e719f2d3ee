"""Bodies on their way in: how many requests, and how many bytes, a broker holds at once, and for how long.

Strangers and admitted vaults have a lane each, so that strangers fill none but their own. In a full lane whoever holds
most of it gives way: of his requests the one that has been arriving longest. So neither many requests nor slow ones of
one address keep another one out, and among those of one address (a proxy's) the quick ones get through.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cloister.errors import MalformedError, UnavailableError

_T = TypeVar("_T")

BODY_S = 10.0
"""How long any body may take to arrive, and the rest at ``BODY_PER_S`` bytes a second."""
BODY_PER_S = 128 * 1024


class _Place:
    """One request in a lane. It gives way only while its body arrives: ``arriving`` is that time."""

    def __init__(self, key: str, size: int) -> None:
        self.key, self.size = key, size
        self.arriving: asyncio.Timeout | None = None
        self.gave_way = False


class Lane:
    """Requests of one kind of sender.

    Args:
        requests: How many are held at once.
        most_bytes: How many bytes, by their declared lengths.
        threads: How many are answered at once.
        body_s: How long a body may take besides its length.
    """

    def __init__(self, *, requests: int, most_bytes: int, threads: int, body_s: float = BODY_S) -> None:
        self._requests, self._most_bytes, self._body_s = requests, most_bytes, body_s
        self._places: dict[_Place, None] = {}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="broker")

    @contextlib.asynccontextmanager
    async def body(self, stream: AsyncIterator[bytes], *, key: str, size: int) -> AsyncIterator[bytes]:
        """Yield a body of ``size`` bytes that ``key`` (an address, a vault) sends, and hold its place meanwhile.

        Raises:
            UnavailableError: ``broker.full``: there is no room, or it had to give way.
            MalformedError: ``broker.slow``: it did not arrive in time; ``ledger.size``: there is more of it.
        """
        place = self._take(key, size)
        try:
            yield await self._arrive(place, stream)
        finally:
            self._places.pop(place, None)

    async def answer(self, act: Callable[[bytes], _T], body: bytes) -> _T:
        """Return ``act(body)``, run in one of this lane's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, act, body)

    async def _arrive(self, place: _Place, stream: AsyncIterator[bytes]) -> bytes:
        data = bytearray()
        try:
            async with asyncio.timeout(self._body_s + place.size / BODY_PER_S) as place.arriving:
                async for chunk in stream:
                    data += chunk
                    if len(data) > place.size:
                        raise too_large(place.size)
        except TimeoutError:
            if place.gave_way:
                raise _full() from None
            raise MalformedError("broker.slow", "the request did not arrive in time") from None
        finally:
            place.arriving = None
        return bytes(data)

    def _take(self, key: str, size: int) -> _Place:
        place = _Place(key, size)
        while len(self._places) >= self._requests or sum(p.size for p in self._places) + size > self._most_bytes:
            gives_way = self._gives_way(place)
            if gives_way is None or gives_way.arriving is None:
                raise _full()
            gives_way.gave_way = True
            gives_way.arriving.reschedule(0)
            del self._places[gives_way]
        self._places[place] = None
        return place

    def _gives_way(self, newcomer: _Place) -> _Place | None:
        """Return the request to drop for another one: of whoever holds at least as much as the newcomer would."""
        held = self._held(newcomer)
        for key in sorted(held, key=lambda name: (held[name], name == newcomer.key), reverse=True):
            if held[key] < held[newcomer.key]:
                break
            # Places are in the order of their arrival.
            found = next((one for one in self._places if one.key == key and one.arriving is not None), None)
            if found is not None:
                return found
        return None

    def _held(self, newcomer: _Place) -> Mapping[str, float]:
        held: dict[str, float] = defaultdict(float)
        for one in (*self._places, newcomer):
            held[one.key] += max(1 / self._requests, one.size / self._most_bytes)
        return held


def too_large(most: int) -> MalformedError:
    """Return the refusal of a body that is larger than its route takes."""
    return MalformedError(
        "ledger.size", f"the request is larger than the {most} bytes it can be", next_step="/v1/openapi.json says sizes"
    )


def _full() -> UnavailableError:
    return UnavailableError("broker.full", "the broker holds as many requests as it can", next_step="ask again later")
