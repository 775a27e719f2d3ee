"""The relay to brokers: carries signed messages between a vault and its brokers, and understands none of them.

A vault names a broker by its did; only brokers of its own contract and only the paths of the protocol are reachable.
Status 0 says that the broker was not reached. Nothing here is trusted: the vault checks every reply's signature.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import msgspec

from cloister.errors import CloisterError, MalformedError
from cloister.wire import canonical

PATHS = frozenset({"/v1/hello", "/v1/session", "/v1/append", "/v1/settle", "/v1/tip"})
MAX_BODY = 64 * 2**20
TIMEOUT_S = 10.0
NOT_REACHED = 0


class _Head(msgspec.Struct, frozen=True):
    id: str
    broker: str
    path: str


class Relay:
    """HTTP towards brokers; one client for the whole agent."""

    def __init__(self) -> None:
        # Proxies and credentials of the agent's environment are none of a broker's business.
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)

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
            status, answer = await self._post(url.rstrip("/") + head.path, body)
        except (httpx.HTTPError, httpx.InvalidURL, CloisterError):
            return _answer(head.id, NOT_REACHED, b"")
        return _answer(head.id, status, answer)

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def _post(self, url: str, body: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        async with self._client.stream("POST", url, content=body, headers=headers) as response:
            answer = bytearray()
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) > MAX_BODY:
                    raise MalformedError("relay.size", "the broker's answer exceeds the limit")
        return response.status_code, bytes(answer)


def _answer(identifier: str, status: int, body: bytes) -> tuple[bytes, bytes]:
    return canonical.encode({"id": identifier, "status": status}), body
