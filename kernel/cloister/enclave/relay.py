"""The relay to brokers: carries signed messages between a vault and its brokers, and understands none of them.

A vault names a broker by its did; only brokers of its own contract and only the paths of the protocol are reachable.
Status 0 says that the broker was not reached. Nothing here is trusted: the vault checks every reply's signature.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec

from cloister.errors import CloisterError, MalformedError
from cloister.wire import canonical

PATHS = frozenset({"/v1/hello", "/v1/session", "/v1/append", "/v1/settle", "/v1/tip"})
MAX_BODY = 64 * 2**20
TIMEOUT_S = 10.0
_THREADS = 16
NOT_REACHED = 0
PASS = "cloister-pass"  # noqa: S105 (a name)
"""The header of a broker's pass (docs/protocol.md section 5)."""
_LONGEST_PASS = 512


class _Head(msgspec.Struct, frozen=True):
    id: str
    broker: str
    path: str


class Relay:
    """HTTP towards brokers; one pool of connections for the whole agent.

    The standard library's client in worker threads: on loopback a request costs 0.5 ms with it and 1.4 ms with httpx,
    and every release makes two. It follows no redirects and reads no proxy or credential from the environment.
    """

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._busy: set[http.client.HTTPConnection] = set()
        # A broker gives it to admitted vaults, and reads the requests that show it before those of strangers.
        self._passes: dict[tuple[str, str], str] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="relay")

    async def forward(self, parts: tuple[bytes, ...], brokers: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Post one ``BROKER [{id, broker, path}, body]`` and return the parts of the answer.

        Raises:
            MalformedError: Not such a frame.
        """
        try:
            head = msgspec.json.decode(parts[0], type=_Head)
            body = parts[1]
        except (msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
            raise MalformedError("relay.malformed", "a broker frame has a head and a body") from error
        url = brokers.get(head.broker)
        if url is None or head.path not in PATHS or len(body) > MAX_BODY:
            return _answer(head.id, NOT_REACHED, b"")
        try:
            loop = asyncio.get_running_loop()
            status, answer = await loop.run_in_executor(self._threads, self._post, url, head.path, body)
        except (OSError, http.client.HTTPException, ValueError, CloisterError):
            return _answer(head.id, NOT_REACHED, b"")
        return _answer(head.id, status, answer)

    async def close(self) -> None:
        """Close the connections, those that wait for a slow broker too."""
        for connection in [*self._busy, *(each for kept in self._idle.values() for each in kept)]:
            connection.close()
        self._idle.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _post(self, url: str, path: str, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(url)
        place = (parts.scheme, parts.netloc)
        kept = self._idle.setdefault(place, [])
        while kept:
            # A broker may have closed what was idle; asking again is harmless, every request is idempotent.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._ask(kept.pop(), place, parts.path.rstrip("/") + path, body)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        return self._ask(connection, place, parts.path.rstrip("/") + path, body)

    def _ask(
        self, connection: http.client.HTTPConnection, place: tuple[str, str], path: str, body: bytes
    ) -> tuple[int, bytes]:
        self._busy.add(connection)
        try:
            shown = {PASS: self._passes[place]} if place in self._passes else {}
            connection.request("POST", path, body, {"content-type": "application/json", **shown})
            response = connection.getresponse()
            if 0 < len(given := response.getheader(PASS) or "") <= _LONGEST_PASS and given.isascii():
                self._passes[place] = given
            answer = response.read(MAX_BODY + 1)
        except BaseException:
            connection.close()
            raise
        finally:
            self._busy.discard(connection)
        if len(answer) > MAX_BODY or response.will_close:
            connection.close()
        else:
            self._idle.setdefault(place, []).append(connection)
        if len(answer) > MAX_BODY:
            raise MalformedError("relay.size", "the broker's answer exceeds the limit")
        return response.status, answer


def _answer(identifier: str, status: int, body: bytes) -> tuple[bytes, bytes]:
    return canonical.encode({"id": identifier, "status": status}), body
