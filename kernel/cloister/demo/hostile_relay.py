"""A carrier that attacks: a WebSocket relay between a notebook and an enclave, for lessons and for our own tests.

    python -m cloister.demo.hostile_relay --upstream ws://127.0.0.1:8001 --trick alter --number 3
    python -m cloister.demo.hostile_relay --demo --trick forward --record wire.jsonl

It is the network, the cloud's load balancer, or whoever rents the machine: it carries every message and may do with it
what it likes. It holds no key of anybody. With ``--demo`` it puts itself between the embedded demo's enclave and every
kernel started while it runs; otherwise give its address as the endpoint. ``--record`` keeps each message as a line
``{"way", "number", "data"}`` (base64), which is all that a carrier ever learns.

Messages are counted from 0 per connection and way. Towards the enclave: the hello (plain), the opening, then cells.
Towards the relying party: the offer (plain), ``accepted``, the cards, then outputs. From the opening on all are sealed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from cloister.attest.encoding import b64
from cloister.attest.hello import Hello, Offer
from cloister.demo import pair
from cloister.errors import CloisterError
from cloister.home import cloister_home
from cloister.wire import canonical

TO_ENCLAVE, TO_PARTY = "to-enclave", "to-relying-party"
TRICKS = {
    "forward": "pass everything on, unchanged",
    "alter": "flip one bit of the message",
    "truncate": "cut off its last byte",
    "drop": "leave it out",
    "repeat": "send it twice",
    "reorder": "send it after the one behind it",
    "reflect": "send it back to where it came from",
    "inject": "send random bytes in front of it",
    "earlier": "send what was at its place in the connection before",
    "cut": "end the connection instead",
    "downgrade": "add an old version to those that the hello offers",
    "middle": "put an own key into hello and offer",
    "divert": "lead to another enclave (--other), and ask it for its own contract (--contract)",
    "disguise": "as divert, and write the asked contract into the offer that comes back",
}
_Socket = ClientConnection | ServerConnection


class Passed(NamedTuple):
    """One message that came by."""

    way: str
    number: int
    data: bytes


class HostileRelay:
    """Relays to ``upstream`` and plays one trick on message ``number`` of ``way`` in every connection.

    ``passed`` holds what came by, of all connections, as it came, unless ``watch`` takes it. ``other`` and ``contract``
    belong to ``divert``; tricks on the handshake need no ``way`` and ``number``.
    """

    def __init__(
        self,
        upstream: str,
        trick: str = "forward",
        *,
        way: str = TO_ENCLAVE,
        number: int = 2,
        other: str = "",
        contract: str = "",
        watch: Callable[[Passed], None] | None = None,
    ) -> None:
        if trick not in TRICKS:
            raise ValueError(f"unknown trick {trick!r}: one of {', '.join(TRICKS)}")
        self.trick, self.target, self.contract = trick, (way, number), contract
        self.passed: list[Passed] = []
        self.saw = watch or self.passed.append
        self.earlier: dict[tuple[str, int], bytes] = {}
        """The messages of the last connection that ended, by way and number."""
        self._upstream = (other or upstream) if trick in {"divert", "disguise"} else upstream

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """Listen on the loopback; yield the address to use instead of ``upstream``."""
        async with serve(self._connected, "127.0.0.1", port, max_size=None, compression=None) as server:
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

    async def _connected(self, near: ServerConnection) -> None:
        async with connect(self._upstream, max_size=None, compression=None, proxy=None) as far:
            line = _Line(self, near, far)
            ways = [asyncio.create_task(line.pump(TO_ENCLAVE)), asyncio.create_task(line.pump(TO_PARTY))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.earlier = line.mine


class _Line:
    """One connection through the relay."""

    def __init__(self, relay: HostileRelay, near: _Socket, far: _Socket) -> None:
        self._relay = relay
        self._ends = {TO_ENCLAVE: (near, far), TO_PARTY: (far, near)}
        self._held: dict[str, bytes] = {}
        self._asked = ""
        self._key = b64(X25519PrivateKey.generate().public_key().public_bytes_raw())
        self.mine: dict[tuple[str, int], bytes] = {}

    async def pump(self, way: str) -> None:
        """Carry one way until an end leaves or the trick ends the connection."""
        source, sink = self._ends[way]
        number = 0
        async for received in source:
            data = received if isinstance(received, bytes) else received.encode()
            self.mine[way, number] = data
            self._relay.saw(Passed(way, number, data))
            if number == 0:
                data = self._handshake(way, data)
            held = self._held.pop(way, None)
            if (way, number) == self._relay.target:
                if self._relay.trick == "cut":
                    return
                await self._play(way, number, data)
            else:
                await sink.send(data)
            if held is not None:
                await sink.send(held)
            number += 1

    async def _play(self, way: str, number: int, data: bytes) -> None:
        source, sink = self._ends[way]
        trick = self._relay.trick
        if trick == "reorder":
            self._held[way] = data
        elif trick == "reflect":
            await source.send(data)
        else:
            tricks = {
                "alter": [data[:-1] + bytes([data[-1] ^ 1])],
                "truncate": [data[:-1]],
                "drop": [],
                "repeat": [data, data],
                "inject": [secrets.token_bytes(64), data],
                "earlier": [self._relay.earlier.get((way, number), data)],
            }
            for message in tricks.get(trick, [data]):
                await sink.send(message)

    def _handshake(self, way: str, data: bytes) -> bytes:
        """Return what hello and offer become under the tricks that rewrite them; a refusal stays as it is."""
        trick = self._relay.trick
        changes: dict[str, Any] = {}
        try:
            kind: type[Hello | Offer] = Hello if way == TO_ENCLAVE else Offer
            message = msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError:
            return data
        if isinstance(message, Hello):
            self._asked = message.contract
            if trick == "downgrade":
                changes = {"versions": (*message.versions, "0")}
            elif trick == "middle":
                changes = {"rp_eph_pub": self._key}
            elif trick in {"divert", "disguise"} and self._relay.contract:
                changes = {"contract": self._relay.contract}
        elif trick == "middle":
            changes = {"kex_pub": self._key}
        elif trick == "disguise":
            changes = {"contract": self._asked}
        return canonical.encode(msgspec.structs.replace(message, **changes)) if changes else data


@contextlib.contextmanager
def in_front_of_the_demo(home: Path, url: str, agent: str) -> Iterator[None]:
    """Have new kernels of the embedded demo dial ``url``, as who runs the machine could; at the end ``agent`` again."""
    path = pair.state_file(home)

    def tell(before: str, after: str) -> None:
        state = json.loads(path.read_bytes())
        if state["agent"] == before:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps({**state, "agent": after}))
            temporary.replace(path)

    tell(agent, url)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError, KeyError):
            tell(url, agent)


async def _run(chosen: argparse.Namespace) -> None:
    home = cloister_home()
    upstream = str(pair.up(home)["agent"]) if chosen.demo else chosen.upstream

    def saw(passed: Passed) -> None:
        print(f"{passed.way:>16} {passed.number:>4} {len(passed.data):>9} bytes", flush=True)
        if chosen.record:
            line = {"way": passed.way, "number": passed.number, "data": b64(passed.data)}
            with chosen.record.open("a") as file:
                file.write(json.dumps(line) + "\n")

    relay = HostileRelay(
        upstream,
        chosen.trick,
        way=chosen.way,
        number=chosen.number,
        other=chosen.other,
        contract=chosen.contract,
        watch=saw,
    )
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with relay.serving(chosen.port) as url:
        with in_front_of_the_demo(home, url, upstream) if chosen.demo else contextlib.nullcontext():
            print(f"relaying {url} to {upstream}; trick: {TRICKS[chosen.trick]}", flush=True)
            await stop.wait()


def main(arguments: list[str]) -> int:
    """Run the relay until it is interrupted."""
    tricks = "\n".join(f"  {name:<10} {text}" for name, text in TRICKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m cloister.demo.hostile_relay",
        description=f"Carry messages between a notebook and an enclave, and attack them. Tricks:\n{tricks}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--upstream", help="address of the enclave (ws://...)")
    where.add_argument("--demo", action="store_true", help="stand in front of the embedded demo")
    parser.add_argument("--trick", choices=TRICKS, default="forward")
    parser.add_argument("--way", choices=(TO_ENCLAVE, TO_PARTY), default=TO_ENCLAVE)
    parser.add_argument("--number", type=int, default=2, help="which message of each connection, from 0 (default 2)")
    parser.add_argument("--other", default="", help="divert, disguise: where to lead connections")
    parser.add_argument("--contract", default="", help="divert, disguise: digest of the contract to ask it for")
    parser.add_argument("--record", type=Path, help="append every message to this file")
    parser.add_argument("--port", type=int, default=0, help="where to listen on the loopback (default: any free port)")
    try:
        asyncio.run(_run(parser.parse_args(arguments)))
    except CloisterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
