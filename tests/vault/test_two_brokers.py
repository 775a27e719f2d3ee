"""One release, two accounts at two brokers: charged at both under one id or, if one is down, at the first only.

A charge that stopped half-way is resumed by whoever asks again, at no further price for the account that has paid; if
nobody does, what was paid is waste: nothing was run, nothing leaves, and nothing is given back.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from pair_world import accounts, both, pair
from vault_world import World

from cloister.errors import UnavailableError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two providers of one kind of unit, each with a broker process of its own."""
    world = pair(tmp_path_factory.mktemp("pair"))
    yield world
    world.close()


def charges(world: World, charge_id: str) -> list[int]:
    """Return how many entries the charge has at each broker."""
    return [sum(entry["charge_id"] == charge_id for entry in broker.entries(name)) for broker, name in accounts(world)]


def first_and_second(world: World) -> tuple[Any, Any, str]:
    """Return the brokers in the order in which they are charged, and the first one's population."""
    pair = sorted(accounts(world), key=lambda one: one[0].did)
    return pair[0][0], pair[1][0], pair[0][1]


def test_a_charge_that_stopped_half_way_is_resumed_and_paid_once(world: World) -> None:
    config = world.config()
    first, second, population = first_and_second(world)
    with world.vault(config) as vault:
        vault.ask("release", both(0))
        second.kill()
        size = first.tip(population).size
        for _ in range(2):
            with pytest.raises(UnavailableError):
                vault.ask("release", both(1))
        assert first.tip(population).size == size + 1, "the first account has paid, once"
    second.restart_if_dead()
    with world.vault(config) as vault:
        answer = vault.ask("release", both(1))
        again = vault.ask("release", both(1))
    assert not answer["recalled"]
    assert (again["raw"], again["recalled"]) == (answer["raw"], True)
    assert charges(world, answer["charge_id"]) == [1, 1]
    assert first.tip(population).size == size + 1


def test_what_was_paid_half_way_and_never_asked_again_is_waste(world: World) -> None:
    config = world.config()
    first, second, population = first_and_second(world)
    before = first.tip(population)
    with world.vault(config) as vault:
        vault.ask("release", both(2))
        second.kill()
        with pytest.raises(UnavailableError):
            vault.ask("release", both(3))
        second.restart_if_dead()
        vault.ask("release", both(4))
        sizes = [broker.tip(name).size for broker, name in accounts(world)]
        first.kill()
        with pytest.raises(UnavailableError):
            vault.ask("release", both(5))
        first.restart_if_dead()
        assert [broker.tip(name).size for broker, name in accounts(world)] == sizes, "the first one down: nobody paid"
    entries = first.entries(population)[before.size :]
    assert [charges(world, entry["charge_id"]) for entry in entries].count([1, 1]) == 2
    waste = next(entry for entry in entries if 0 in charges(world, entry["charge_id"]))
    paid = sum((Fraction(entry["rho"]) for entry in entries), Fraction(0))
    assert first.tip(population).spent == before.spent + paid, "it stays charged"
    with world.vault(config) as vault:
        resumed = vault.ask("release", both(3))
    assert (resumed["charge_id"], resumed["recalled"]) == (waste["charge_id"], False), "it was never run before"
