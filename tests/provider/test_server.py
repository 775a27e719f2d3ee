"""The broker as a process: HTTP, ready file, idle exit, kill -9 under load, and what its log must not hold."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import threading
from fractions import Fraction

import httpx
import msgspec
import pytest
from provider_world import POPULATION, Vault
from starlette.testclient import TestClient

from cloister.contract.states import Decision
from cloister.provider import rate
from cloister.provider.accounts import Accounts
from cloister.provider.server import create_app
from cloister.wire import canonical
from cloister.wire.address import network

KILLS = int(os.environ.get("CLOISTER_TEST_KILLS", "6"))


def test_a_session_and_a_charge_over_http(served):
    world = served()
    assert world.broker.state["did"] == world.broker_key.did
    assert world.broker.client.get("/v1/health").json() == {"status": "ok"}
    vault = world.vault()
    assert vault.append("c1").status == "ok"
    assert vault.settle("c1", "sealed").status == "ok"
    assert vault.tip().spent == "1/1000"


def test_a_flood_of_hellos_pushes_nobody_out(served):
    """One address gets so many and then has to wait; what vaults sign for is not slowed down."""
    world = served()
    vault = world.vault()
    question = canonical.encode({"contract": world.digest, "vault_id": vault.key.did})
    # On a slow machine more of them get through, for tokens come back meanwhile.
    answers = (world.broker.client.post("/v1/hello", content=question) for _ in range(10 * rate.BURST))
    number, refused = next((n, answer) for n, answer in enumerate(answers) if answer.status_code != 200)
    assert number >= rate.BURST - 1
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "broker.busy")
    assert vault.append("c1").status == "ok"


def test_a_vault_never_waits_for_strangers_behind_its_address(make_world):
    """Behind a proxy all have one address: who has no session is slowed down there, who has one is not."""
    world = make_world()
    vault, stranger = world.vault(), Vault(world)
    client = TestClient(create_app(world.broker, refusals=rate.Rate(lambda: 0.0, burst=9)))

    def post(who: Vault, op: str, request: object) -> int:
        return client.post(f"/v1/{op}", content=who.sign(request)).status_code

    asked = stranger.append_request(stranger.entry("c"))
    said = [post(stranger, "append", asked) for _ in range(11)]
    assert said == [200] * 9 + [429] * 2
    assert post(vault, "append", vault.append_request(vault.entry("c1"))) == 200
    assert client.post("/v1/append", content=b"nonsense").status_code == 429
    # To name the vault is not enough.
    forged = msgspec.structs.replace(asked, vault_id=vault.key.did)
    assert post(stranger, "append", forged) == 429


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("unix", "", False),
    ],
)
def test_one_host_has_one_rate_however_many_addresses_it_has(one, other, same):
    assert (network(one) == network(other)) == same


def test_every_address_has_its_own_rate_and_it_comes_back():
    now = [0.0]
    limit = rate.Rate(lambda: now[0])
    assert all(limit.allows("a") for _ in range(rate.BURST))
    assert not limit.allows("a")
    assert limit.allows("b")
    now[0] += 1
    assert [limit.allows("a") for _ in range(int(rate.PER_S) + 1)] == [True] * int(rate.PER_S) + [False]
    now[0] += 3600
    assert sum(limit.allows("a") for _ in range(2 * rate.BURST)) == rate.BURST
    for number in range(2 * rate.MAX_ADDRESSES):
        limit.allows(str(number))
    assert len(limit._buckets) == rate.MAX_ADDRESSES


def test_loopback_only_and_private(served):
    world = served()
    assert world.broker.state["url"].startswith("http://127.0.0.1:")
    assert world.directory.joinpath("ready.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/append", b"{}", 400),
        ("POST", "/v1/append", b"\xff" * 100, 400),
        ("POST", "/v1/hello", b"[]", 400),
        ("GET", "/v1/append", b"", 405),
        ("POST", "/v1/nothing", b"", 404),
        ("POST", "/v1/settle", b"x" * (33 * 2**20), 413),
    ],
)
def test_nonsense_over_http(served, method, path, body, status):
    answer = served().broker.client.request(method, path, content=body)
    assert answer.status_code == status
    if status in (400, 413):
        error = answer.json()["error"]
        assert error["code"]
        assert "Traceback" not in answer.text


def test_unsigned_and_forged_requests_over_http(served):
    world = served()
    vault = world.vault()
    body = json.loads(vault.sign(vault.append_request(vault.entry("c1"))))
    body["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    answer = world.broker.client.post("/v1/append", content=json.dumps(body))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "signature.invalid")
    assert vault.tip().size == 0


def test_revocation_takes_effect_while_the_broker_runs(served):
    world = served()
    vault = world.vault()
    assert vault.append("c1").status == "ok"
    world.home.contracts.decide(world.digest, Decision("revoked", "2026-06-01T00:00:00Z", "enough"))
    reply = vault.append("c2")
    assert (reply.status, reply.size) == ("contract.inactive", 0)


def test_idle_exit(served):
    world = served("--idle-exit", "2")
    process = world.broker.process
    world.vault()
    assert process.wait(10) == 0
    assert not world.broker.ready.exists()


def test_no_home_no_broker(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cloister.provider", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "keys.missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_log_holds_no_secrets_and_no_receipts(served):
    world = served()
    vault = world.vault()
    vault.append("c1")
    vault.settle("c1", "a-canary-of-a-receipt")
    world.broker.client.post("/v1/append", content=b"a-canary-of-a-body")
    world.broker.close()
    text = world.broker.log.read_bytes()
    secrets = [world.sealed.data_key, world.broker_key.private_bytes(), world.provider.private_bytes()]
    canaries = [b"canary", *secrets, *(base64.b64encode(key)[:40] for key in secrets)]
    canaries += [key.hex().encode() for key in secrets]
    assert all(canary not in text for canary in canaries)
    events = [json.loads(line) for line in text.decode().splitlines()]
    assert {"session", "append", "settle", "refused"} <= {event["event"] for event in events}


def test_kill_9_under_load_keeps_every_signed_charge(served):
    """Requests run while the broker is killed; whatever was acknowledged with a signature is booked, once."""
    world = served()
    rng = random.Random(5)
    acknowledged: set[str] = set()
    attempted: list[str] = []
    for life in range(KILLS):
        vault = world.vault()
        stop = threading.Timer(rng.uniform(0.02, 0.15), world.broker.kill)
        stop.start()
        try:
            for number in range(10_000):
                attempted.append(f"life{life}-{number}")
                reply = vault.append(attempted[-1], "1/1000000", analyst=world.analyst.did)
                assert reply.status in ("ok", "limit.releases")
                if reply.status == "ok":
                    acknowledged.add(attempted[-1])
        except httpx.HTTPError:
            pass
        stop.join()
        world.broker.start()
        vault.append(attempted[-1], "1/1000000")  # the lost reply: the retry is the same charge
    world.broker.close()
    accounts = Accounts(world.home.accounts_file)
    entries = [json.loads(body)["charge_id"] for body in accounts.entries(POPULATION)]
    assert acknowledged <= set(entries) <= set(attempted)
    assert len(entries) == len(set(entries))
    assert accounts.read_tip(POPULATION).spent == Fraction(len(entries), 10**6)
    accounts.close()
