"""Requests that are signed as they should be and say something strange: refused in words, and the logs stay sound.

Generated bodies of ``test_openapi`` end at the signature. Here an admitted vault and the holders of every role sign
mutants of what they may send.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import secrets
from collections import Counter
from typing import Any

import msgspec
import pytest
from log_world import checked, exported
from provider_world import POPULATION, Vault, World
from starlette.testclient import TestClient

from cloister.provider import clock, rate, roles, server
from cloister.provider.server import create_app
from cloister.receipt.ledger import REQUEST_TYPE, SettleRequest, TipRequest
from cloister.receipt.office import ASK_TYPE, Ask
from cloister.wire import canonical
from cloister.wire.envelope import seal
from cloister.wire.identity import SigningKey

IN_CI, IN_NIGHTLY = 250, 60_000
STRANGE: tuple[Any, ...] = (
    "", "0", "-1", "1/0", "1e999999999", "9" * 5000, "x" * 3000, "\0", "\U0001f600", "did:key:z6Mk", "../../x", "*",
    "sha256:" + "0" * 64, "9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z", None, True, 0, -1, 2**31, 2**63 - 1, 2**64,
    10**30, 1.5, [], {}, [[]], [None], {"a": 1}, ["x"] * 50,
)  # fmt: skip
# What would take the world away from under the next request is asked for in test_office.
LEFT_OUT = frozenset({"identity.revoke", "role.grant", "role.remove", "contract.suspend", "contract.revoke"})


class Senders:
    """An admitted vault and one holder of each role."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.vault = world, world.vault()
        self.rng = random.Random(seed)
        self.keys = {role: SigningKey.generate() for role in roles.ROLES} | {"analyst": world.analyst}
        for role in roles.ROLES:
            roles.grant(world.home, self.keys[role].did, role)
        self.card = json.loads((world.sealed.directory / "card.json").read_bytes())

    def request(self) -> tuple[str, bytes]:
        """Return a path and a signed mutant."""
        path, document, key, kind = self.rng.choice((self._vaults, self._vaults, self._persons))()
        payload = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return path, canonical.encode(seal(kind, payload.encode(), key))

    def _vaults(self) -> tuple[str, Any, SigningKey, str]:
        vault: Vault = self.vault
        charge = f"c{self.rng.randrange(8)}"
        named = (secrets.token_hex(8), secrets.token_hex(8), vault.key.did, vault.epoch, POPULATION)
        op, request = self.rng.choice((
            ("append", vault.append_request(vault.entry(charge, "1/100000"))),
            ("settle", SettleRequest(*named, charge, "sealed")),
            ("tip", TipRequest(*named, self.world.digest, self.world.analyst.did)),
        ))  # fmt: skip
        return f"/v1/{op}", self._mutant(msgspec.to_builtins(request)), vault.key, REQUEST_TYPE

    def _persons(self) -> tuple[str, Any, SigningKey, str]:
        world, key = self.world, self.keys[self.rng.choice(list(roles.ROLES))]
        arguments = {
            "manifest": world.sealed.manifest_digest, "card": self.card, "provider": world.provider.did, "text": "x",
            "contract": world.digest, "class": "log", "before": "2020-01-01T00:00:00Z", "request": "r", "digest": "d",
            "earlier": self.card, "visible": ["*"], "reason": "r",
        }  # fmt: skip
        action = self.rng.choice(sorted(roles.ACTIONS.keys() - LEFT_OUT))
        named = (secrets.token_hex(8), world.broker.did, key.did, clock.text(world.now), action)
        ask = msgspec.to_builtins(Ask(*named, arguments))
        part = self.rng.choice(("arguments", "arguments", ""))
        mutant = {**ask, part: self._mutant(arguments)} if part else self._mutant(ask)
        return "/v1/office", mutant, key, ASK_TYPE

    def _mutant(self, document: Any) -> Any:
        mutant = json.loads(json.dumps(document))
        for _ in range(self.rng.choice((0, 1, 1, 2, 3))):
            node = mutant
            while node:
                key = self.rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
                if isinstance(node[key], dict | list) and node[key] and self.rng.random() < 0.6:
                    node = node[key]
                    continue
                if isinstance(node, dict) and self.rng.random() < 0.1:
                    del node[key]
                else:
                    # A copy: what one mutant changes in it must not be in the next, or in itself.
                    node[key] = copy.deepcopy(self.rng.choice(STRANGE))
                break
        return mutant


def run(world: World, seed: int, number: int) -> Counter[tuple[str, int, str]]:
    """Send so many mutants; return how often each path answered what."""
    senders, seen = Senders(world, seed), Counter[tuple[str, int, str]]()
    client = TestClient(create_app(world.broker))
    for _ in range(number):
        path, body = senders.request()
        answer = client.post(path, content=body)
        status = ""
        if answer.status_code == 200:
            status = json.loads(base64.b64decode(answer.json()["payload"]))["status"]
        seen[path, answer.status_code, status] += 1
    return seen


def check(world: World, seen: Counter[tuple[str, int, str]]) -> None:
    """Everything was answered or refused in words, some of it went through, and what was booked is sound."""
    assert {code for _, code, _ in seen} <= {200, 400, 403}
    for path, status in (("append", "ok"), ("settle", "ok"), ("tip", "ok"), ("office", "done"), ("office", "refused")):
        assert seen[f"/v1/{path}", 200, status], f"nothing was {status} at {path}: the mutants end at the door"
    report = checked(exported(world))
    assert report.sound, report.to_text()


@pytest.fixture
def unlimited(make_world, monkeypatch):
    monkeypatch.setattr(server, "Rate", lambda: rate.Rate(burst=10**9))
    return make_world()


def test_signed_nonsense_is_refused_in_words(unlimited):
    check(unlimited, run(unlimited, 1, IN_CI))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_much_signed_nonsense_is_refused_in_words_by_night(unlimited):
    check(unlimited, run(unlimited, 2, IN_NIGHTLY))
