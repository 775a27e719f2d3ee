"""Strangers at a broker's door: no memory, no place and no connection that an admitted vault would need."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import httpx
import msgspec
import pytest
import uvicorn
from broker_process import Process
from provider_world import Vault

from cloister.attest.hello import MAX_OFFER
from cloister.contract.exits import MAX_TARGETS
from cloister.errors import CloisterError
from cloister.plan.layout import MAX_INTEGERS
from cloister.provider import intake, limits, openapi, operators, passes, server
from cloister.provider.connections import Connections
from cloister.provider.intake import Lane
from cloister.provider.passes import Passes
from cloister.provider.server import create_app
from cloister.receipt.deposit import WIDEST, Deposit, seal_deposit
from cloister.receipt.ledger import ExitEntry, SettleRequest
from cloister.wire import envelope
from cloister.wire.identity import SigningKey

MIB = 2**20


def counted(world, op: str, status: str) -> int:
    """Return a counter of a running broker, as its operator reads it."""
    operators.make_token(world.home)
    token = world.home.metrics_file.read_text()
    said = world.broker.client.get("/v1/metrics", headers={"authorization": f"Bearer {token}"}).text
    lines = [line for line in said.splitlines() if f'op="{op}",status="{status}"' in line]
    return int(lines[0].rpartition(" ")[2]) if lines else 0


# How large requests are --------------------------------------------------------------------------------


def test_every_route_says_its_limit_and_the_document_has_it():
    paths = openapi.document()["paths"]
    posts = {path for path, methods in paths.items() if "post" in methods}
    assert posts == set(limits.BODY)
    for path, most in limits.BODY.items():
        assert paths[path]["post"]["requestBody"]["x-max-bytes"] == most


def test_the_largest_real_requests_are_within_the_limits_and_not_far_from_them(world, vault):
    offer = {"x": "y" * (MAX_OFFER - 8)}
    asked = vault.session_request(vault.offer(vault.hello()))
    session = vault.sign(msgspec.structs.replace(asked, offer=offer))
    tags = tuple(f"{number:032x}" for number in range(MAX_TARGETS))
    append = vault.sign(vault.append_request(vault.entry("c", exit=ExitEntry("match", 0, tags))))
    # As ``vault.settle`` does: a receipt of numbers as wide as they get, in its envelope, sealed.
    raw = [str(-(2**63))] * MAX_INTEGERS
    payload = json.dumps({"raw": raw, "plan": "p" * 2**18}, separators=(",", ":")).encode()
    receipt = envelope.seal("application/x", payload, SigningKey.generate())
    sealed = seal_deposit(Deposit(receipt, ()), bytes(32), "c", raw)
    settle = vault.sign(SettleRequest("r" * 32, "n" * 32, vault.key.did, 1, "p" * 256, "c" * 71, sealed))
    assert len(raw[0]) == WIDEST
    for path, body in (("/v1/session", session), ("/v1/append", append), ("/v1/settle", settle)):
        assert limits.BODY[path] // 2 < len(body) <= limits.BODY[path], path


# Passes ------------------------------------------------------------------------------------------------


def test_a_pass_is_of_this_broker_and_ends():
    now = [1000.0]
    ours, theirs = (Passes(SigningKey.generate(), lambda: now[0]) for _ in range(2))
    text = ours.issue("did:key:v")
    assert ours.check(text).vault_id == "did:key:v"
    assert not ours.check(text).old
    for wrong in (
        theirs.issue("did:key:v"),
        text.replace("did:key:v", "did:key:w"),
        text[:-1],
        "",
        "x y z",
        "é" + text,
    ):
        assert ours.check(wrong) is None
    now[0] += passes.LIFE_S / 2 + 1
    assert ours.check(text).old
    now[0] += passes.LIFE_S / 2
    assert ours.check(text) is None


def test_a_pass_outlives_a_restart():
    key = SigningKey.generate()
    assert Passes(key).check(Passes(key).issue("did:key:v")) is not None


# Lanes -------------------------------------------------------------------------------------------------


class Sender:
    """A body that arrives when the test says so."""

    def __init__(self) -> None:
        self.more = asyncio.Event()

    async def stream(self):
        await self.more.wait()
        yield b"body"


def lane_story(story) -> None:
    async def run() -> None:
        senders: list[asyncio.Task] = []

        def ask(lane: Lane, key: str, size: int = 4) -> tuple[Sender, asyncio.Task]:
            sender = Sender()

            async def one() -> str:
                try:
                    async with lane.body(sender.stream(), key=key, size=size) as body:
                        return body.decode()
                except CloisterError as error:
                    return error.code

            senders.append(asyncio.create_task(one()))
            return sender, senders[-1]

        await story(ask)
        for task in senders:
            task.cancel()
        await asyncio.gather(*senders, return_exceptions=True)

    asyncio.run(run())


def test_in_a_full_lane_who_holds_most_gives_way_and_nobody_else():
    async def story(ask) -> None:
        lane = Lane(requests=4, most_bytes=100, threads=1)
        quiet, told = ask(lane, "quiet")
        noisy = [ask(lane, "noisy") for _ in range(3)]
        await asyncio.sleep(0)
        later, answer = ask(lane, "later")
        await asyncio.sleep(0)
        assert await noisy[0][1] == "broker.full"  # the one that has been arriving longest
        for sender in (quiet, later, noisy[1][0]):
            sender.more.set()
        assert [await task for task in (told, answer, noisy[1][1])] == ["body"] * 3

    lane_story(story)


def test_of_one_address_the_slowest_gives_way():
    async def story(ask) -> None:
        lane = Lane(requests=2, most_bytes=100, threads=1)
        slow = [ask(lane, "proxy") for _ in range(2)]
        await asyncio.sleep(0)
        quick, answer = ask(lane, "proxy")
        quick.more.set()
        assert await answer == "body"
        assert await slow[0][1] == "broker.full"

    lane_story(story)


def test_bytes_count_as_places_do():
    async def story(ask) -> None:
        lane = Lane(requests=100, most_bytes=100, threads=1)
        big, small = ask(lane, "big", 90), ask(lane, "small", 10)
        await asyncio.sleep(0)
        assert await ask(lane, "huge", 95)[1] == "broker.full"  # who would hold most himself
        other, answer = ask(lane, "other", 50)
        other.more.set()
        assert await answer == "body"
        assert await big[1] == "broker.full"
        small[0].more.set()
        assert await small[1] == "body"

    lane_story(story)


def test_what_is_being_answered_does_not_give_way():
    async def story(ask) -> None:
        lane = Lane(requests=1, most_bytes=100, threads=1)
        done = asyncio.Event()

        async def answered() -> None:
            async with lane.body(ready_sender().stream(), key="a", size=4):
                await done.wait()

        task = asyncio.create_task(answered())
        await asyncio.sleep(0.01)
        assert await ask(lane, "b")[1] == "broker.full"
        done.set()
        await task

    lane_story(story)


def ready_sender() -> Sender:
    sender = Sender()
    sender.more.set()
    return sender


def test_more_than_was_declared_is_not_read():
    async def story(ask) -> None:
        sender, task = ask(Lane(requests=1, most_bytes=100, threads=1), "a", 3)
        sender.more.set()
        assert await task == "ledger.size"

    lane_story(story)


# A real process ----------------------------------------------------------------------------------------


class Raw:
    """A connection that says what it likes."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)

    def head(self, path: str, *headers: str) -> Raw:
        self.socket.sendall("\r\n".join([f"POST {path} HTTP/1.1", "host: b", *headers, "", ""]).encode())
        return self

    def answer(self) -> tuple[int, str]:
        """Return status and error code."""
        data = b""
        while b"\r\n\r\n" not in data or b"}" not in data:
            if not (more := self.socket.recv(65536)):
                raise ConnectionError("closed without an answer")
            data += more
        return int(data.split()[1]), json.loads(data.partition(b"\r\n\r\n")[2])["error"]["code"]

    def closed(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def raw():
    made: list[Raw] = []

    def connect(url: str) -> Raw:
        made.append(Raw(url))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def test_a_body_is_refused_by_what_it_says_before_any_of_it_is_sent(served, raw):
    world = served()
    url = world.broker.state["url"]
    for path in limits.BODY:
        most = limits.largest(path, known=False)
        assert raw(url).head(path, f"content-length: {most + 1}").answer() == (413, "ledger.size"), path
        assert raw(url).head(path, "transfer-encoding: chunked").answer() == (411, "broker.length"), path
    assert counted(world, "refused", "ledger.size") == len(limits.BODY)
    assert counted(world, "refused", "broker.length") == len(limits.BODY)


def test_large_bodies_are_read_from_vaults_with_a_pass_only(served):
    world = served()
    vault, client = world.vault(), world.broker.client

    def settle(charge: str, shown: str) -> httpx.Response:
        size = limits.STRANGERS_BODY
        request = SettleRequest("r", "n", vault.key.did, vault.epoch, "clinic.patients", charge, "x" * size)
        return client.post("/v1/settle", content=vault.sign(request), headers={passes.HEADER: shown} if shown else {})

    booked = client.post("/v1/append", content=vault.sign(vault.append_request(vault.entry("c1"))))
    shown = booked.headers[passes.HEADER]
    forged = Passes(SigningKey.generate()).issue(vault.key.did)
    assert [settle("c1", wrong).status_code for wrong in ("", "nonsense", forged)] == [413] * 3
    assert settle("c1", shown).status_code == 200
    # A stranger gets none, whatever he signs.
    stranger = Vault(world)
    answer = client.post("/v1/append", content=stranger.sign(stranger.append_request(stranger.entry("c"))))
    assert (answer.status_code, passes.HEADER in answer.headers) == (200, False)


def test_many_large_requests_of_strangers_take_no_more_memory_than_their_lane_and_no_place_of_a_vault(served, raw):
    world = served()
    vault, url = world.vault(), world.broker.state["url"]
    assert vault.append("c0").status == "ok"
    before = resident(world.broker)
    size = limits.BODY["/v1/office"]
    senders = [raw(url) for _ in range(48)]

    def send(one: Raw) -> None:
        with contextlib.suppress(OSError):  # whoever had to give way was told so
            one.head("/v1/office", f"content-length: {size}").socket.sendall(b" " * (size - 1))

    threads = [threading.Thread(target=send, args=(one,)) for one in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert vault.append("c1").status == "ok"
    held = server.STRANGERS_BYTES
    assert resident(world.broker) - before < 3 * held < size * len(senders)
    assert counted(world, "refused", "broker.full") >= len(senders) - held // size


def resident(process: Process) -> int:
    """Return the most memory a process ever held, in bytes."""
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


# Time-outs and connections, with times of the test's own -------------------------------------------------


class Here:
    """A server of this process, on a real socket, with limits the test sets; it talks like ``Process``."""

    def __init__(self, world, *, body_s: float = 20, head_s: float = 20, most: int = 100) -> None:
        self.world, self.broker = world, world.broker
        self.connections = Connections(
            lambda why: self.broker.metrics.count("connection", why), most=most, head_s=head_s
        )
        app = create_app(world.broker, body_s=body_s)
        options = {"ws": "none", "log_level": "critical", "access_log": False, "lifespan": "off"}
        self.server = uvicorn.Server(uvicorn.Config(app, http=self.connections.protocol(), **options))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server._serve([self.listener])))
        self.thread.start()
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def post(self, op: str, body: bytes) -> httpx.Response:
        return self.client.post(f"/v1/{op}", content=body)

    def count(self, why: str) -> int:
        return self.broker.metrics._counts["connection", why]

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.listener.close()


@pytest.fixture
def here(world):
    made: list[Here] = []

    def start(**options) -> Here:
        made.append(Here(world, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_a_body_that_does_not_arrive_is_not_waited_for(here, raw, monkeypatch):
    monkeypatch.setattr(intake, "BODY_PER_S", 10**9)
    slow = here(body_s=0.2)
    one = raw(slow.url).head("/v1/append", "content-length: 10")
    one.socket.sendall(b"x")
    assert one.answer() == (408, "broker.slow")
    assert slow.broker.metrics._counts["refused", "broker.slow"] == 1


def test_a_connection_that_never_says_what_it_wants_is_closed(here, raw):
    """Silent ones, half a head, and whoever was refused and goes on sending the body nobody reads."""
    served = here(head_s=0.3)
    silent, half = raw(served.url), raw(served.url)
    half.socket.sendall(b"POST /v1/app")
    refused = raw(served.url).head("/v1/append", f"content-length: {limits.BODY['/v1/append'] + 1}")
    assert refused.answer() == (413, "ledger.size")
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                refused.socket.sendall(b"x")
                time.sleep(0.02)

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert [one.closed() for one in (silent, half, refused)] == [True] * 3
    finally:
        stop.set()
        dripping.join()
    assert served.count("slow") == 3


def test_silent_connections_keep_no_vault_out(here, raw, world):
    vault, served = world.vault(), here(most=8)
    asked = vault.sign(vault.append_request(vault.entry("c1")))
    assert served.post("append", asked).status_code == 200
    (proven,) = [one for one in served.connections._open if one.proven]
    crowd = [raw(served.url) for _ in range(30)]
    deadline = time.monotonic() + 20
    while served.count("pushed-out") < 23 and time.monotonic() < deadline:
        time.sleep(0.01)
    # On its own connection, and on a new one: the crowd's own were closed for it.
    assert proven in served.connections._open
    assert served.post("append", asked).status_code == 200
    assert httpx.post(f"{served.url}/v1/append", content=asked).status_code == 200
    assert len(served.connections._open) <= 8
    assert crowd[0].closed()


def test_strangers_fill_no_place_but_their_own(here, world, monkeypatch):
    """All places of strangers are taken by requests that are being answered, so none of them gives way."""
    monkeypatch.setattr(server, "STRANGERS_REQUESTS", 1)
    vault, entered, done = world.vault(), threading.Event(), threading.Event()

    def hello(_body: bytes) -> bytes:
        entered.set()
        done.wait(20)
        return b"{}"

    monkeypatch.setattr(world.broker, "hello", hello)
    served = here()
    asked = vault.sign(vault.append_request(vault.entry("c1")))
    shown = served.post("append", asked).headers[passes.HEADER]
    holder = threading.Thread(target=httpx.post, args=(f"{served.url}/v1/hello",), kwargs={"content": b"{}"})
    holder.start()
    try:
        assert entered.wait(20)
        full = served.post("append", asked)
        assert (full.status_code, full.json()["error"]["code"]) == (503, "broker.full")
        answered = served.client.post("/v1/append", content=asked, headers={passes.HEADER: shown})
        assert answered.status_code == 200
    finally:
        done.set()
        holder.join()


# Metrics -----------------------------------------------------------------------------------------------


def test_metrics_are_for_the_operator(served):
    world = served("--metrics-listen", "127.0.0.1:0")
    client, own = world.broker.client, world.broker.state["metrics"]

    def asked(token: str = "", **headers: str) -> int:
        shown = {"authorization": f"Bearer {token}"} if token else {}
        answer = client.get("/v1/metrics", headers={**shown, **headers})
        if answer.status_code == 403:
            assert answer.json()["error"]["code"] == "metrics.token"
            assert "cloister_requests" not in answer.text
        return answer.status_code

    assert asked() == 403
    assert asked("", **{"x-forwarded-for": "127.0.0.1"}) == 403
    assert asked("guess") == 403
    operators.make_token(world.home)
    token = world.home.metrics_file.read_text()
    assert (asked(), asked("guess"), asked(token)) == (403, 403, 200)
    operators.make_token(world.home)
    assert asked(token) == 403
    world.home.metrics_file.chmod(0o644)  # anybody at this machine could have read it
    assert asked(world.home.metrics_file.read_text()) == 403
    # The listener of their own serves them, and nothing else.
    assert "cloister_requests_total" in httpx.get(own).text
    for path in ("/v1/health", "/v1/openapi.json"):
        assert httpx.get(own.removesuffix("/metrics") + path).status_code == 404
    assert httpx.post(own.removesuffix("/metrics") + "/v1/hello", content=b"{}").status_code == 404


def test_metrics_are_not_served_to_a_network_without_a_token(make_world):
    world = make_world()
    with pytest.raises(CloisterError) as stopped:
        operators.check_listener(world.home, "0.0.0.0", 9701)
    assert stopped.value.code == "metrics.open"
    operators.make_token(world.home)
    listener = operators.check_listener(world.home, "0.0.0.0", 9701)
    with pytest.raises(CloisterError) as refused:
        operators.check(world.home, listener, server=("0.0.0.0", 9701), authorization="")
    assert refused.value.code == "metrics.token"
    shown = f"Bearer {world.home.metrics_file.read_text()}"
    operators.check(world.home, listener, server=("0.0.0.0", 9701), authorization=shown)


@pytest.mark.parametrize(("listen", "code"), [("0.0.0.0:0", "metrics.open"), ("9701", "metrics.listen")])
def test_a_broker_does_not_start_with_open_metrics(make_world, listen, code):
    world = make_world()
    world.broker.close()
    with pytest.raises(AssertionError, match=code):
        Process(world, "--metrics-listen", listen)
