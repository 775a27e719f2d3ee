"""Targets of a match are the units of storage: one normaliser, one hash, whatever the asker writes."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from mutants import mutated
from test_load import card

from cloister.contract.card import Card, Column
from cloister.provider.tables import fixed_width, prepare
from cloister.vault import lookup, targets
from cloister.vault.load import Store

SALT = b"sha256:contract"
SECRET = b"s" * 32
MEMBERS = ["A1", " b2 ", "x" * 300, "Ünal", "d\0\0", "007", "e e", "f" * 256]


def text_card(normaliser: str) -> Card:
    return card(normaliser=normaliser)


def number_card() -> Card:
    made = card()
    return msgspec.structs.replace(made, columns=(Column("id", "int", 5, "key"),))


def ask(public: Card, members: list[Any], keys: list[str]) -> dict[str, bool]:
    """Seal the members as a provider does, load them, and ask for each key alone and for all together."""
    conformed, _ = prepare(public, pa.table({"id": members}))
    sealed = fixed_width(conformed, 16)
    values = sealed.column("id")
    if public.columns[0].type == "string":
        values = pa.compute.utf8_rtrim(values.cast(pa.binary()).cast(pa.string()), characters="\0")
    raw = pa.compute.if_else(sealed.column("id?"), values, pa.scalar(None, values.type))
    store = Store()
    store.add("t", public, [pa.table({"id": raw})], b"k", SALT)
    name = store.tables["t"]
    found = lookup.found(store.cursor(), name, "TRUE", targets.targets(public, keys, SALT))
    alone = [lookup.found(store.cursor(), name, "TRUE", targets.targets(public, [key], SALT))[0] for key in keys]
    store.close()
    assert list(found) == alone, "one target and many take two ways to one answer"
    return dict(zip(keys, found, strict=True))


def check_exact() -> None:
    absent = ["", " ", "\0", "a1", "b2", "A1 ", "ünal", "x" * 255, "g", "None", "null", "nan"]
    found = ask(text_card("exact"), [*MEMBERS, None, ""], [*MEMBERS, *absent, "x" * 256, "x" * 999])
    assert found == dict.fromkeys([*MEMBERS, "x" * 256, "x" * 999], True) | dict.fromkeys(absent, False)


def check_normalised() -> None:
    found = ask(text_card("ascii-lower-strip"), [*MEMBERS, None, " "], ["a1", "A1 ", "B2", "ünal", "ÜNAL", " ", "c"])
    assert found == {"a1": True, "A1 ": True, "B2": True, "ünal": False, "ÜNAL": True, " ": False, "c": False}


def check_numbers() -> None:
    found = ask(
        number_card(), [7, -12, None, 10**15], ["7", "007", " +7", "-12", str(10**15), "8", "7.0", "seven", "0"]
    )
    assert found == {"7": True, "007": True, " +7": True, "-12": True, str(10**15): True} | dict.fromkeys(
        ("8", "7.0", "seven", "0"), False
    )


def check_long_numbers() -> None:
    least, most = -(2**63), 2**63 - 1
    absent = [str(most + 1), str(least - 1), "9" * 19, "1" + "0" * 19, str(most - 1), "9223372036854775807.0"]
    there = [str(most), str(least), "0" * 30 + "7", "0" * 5000 + "7", "+" + str(10**18), "000"]
    found = ask(number_card(), [most, least, 7, 10**18, 0, None], [*there, *absent])
    assert found == dict.fromkeys(there, True) | dict.fromkeys(absent, False)


CHECKS = {
    "exact": check_exact,
    "normalised": check_normalised,
    "numbers": check_numbers,
    "long_numbers": check_long_numbers,
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_key_is_found_exactly_if_storage_has_its_unit(name: str) -> None:
    CHECKS[name]()


MUTANTS = [
    (targets, "0, MAX_TEXT", "0, 2 * MAX_TEXT", "exact"),
    (targets, "if _LEAST <= value <= _MOST", "if True", "long_numbers"),
    (targets, "int(whole[1] + whole[2])", "int(text)", "long_numbers"),
    (targets, 'pc.equal(pc.utf8_trim_whitespace(cut), "")', "pc.equal(cut, chr(1))", "nothing_there"),
    (targets, "material = salt + text if", "material = salt + key.encode() if", "normalised"),
    (lookup, ' and targets.possible[0]', "", "nothing_there"),
    (lookup, "there & np.asarray(targets.possible)", "there", "nothing_there"),
]  # fmt: skip


def check_nothing_there() -> None:
    """A target that no row can have is not found even if its hash were."""
    store = Store()
    public = text_card("exact")
    assert targets.targets(public, ["", " ", "\0", "a"], SALT).possible == (False, False, False, True)
    store.add("t", public, [pa.table({"id": ["a"]})], b"k", SALT)
    there = targets.targets(public, ["a"], SALT)
    impossible = msgspec.structs.replace(there, possible=(False,))
    assert lookup.found(store.cursor(), store.tables["t"], "TRUE", there) == (True,)
    assert lookup.found(store.cursor(), store.tables["t"], "TRUE", impossible) == (False,)
    both = targets.Targets(there.units * 2, (True, False))
    assert lookup.found(store.cursor(), store.tables["t"], "TRUE", both) == (True, False)


CHECKS["nothing_there"] = check_nothing_there


@pytest.mark.parametrize(("module", "old", "new", "check"), MUTANTS)
def test_every_line_of_it_is_needed(module: Any, old: str, new: str, check: str) -> None:
    with mutated(module, old, new), pytest.raises((AssertionError, ValueError, OverflowError)):
        CHECKS[check]()


def test_random_batches_equal_plain_membership() -> None:
    rng = random.Random(20261128)
    public = text_card("exact")
    store = Store()
    members = {f"m{rng.randrange(10**6)}" for _ in range(3000)}
    store.add("t", public, [pa.table({"id": sorted(members)})], b"k", SALT)
    for size in (2, 17, 2500):
        keys = [rng.choice(sorted(members)) if rng.random() < 0.5 else f"m{rng.randrange(10**6)}" for _ in range(size)]
        found = lookup.found(store.cursor(), store.tables["t"], "TRUE", targets.targets(public, keys, SALT))
        assert list(found) == [key in members for key in keys]


# Tags ------------------------------------------------------------------------------------------------


def test_tags_name_units_and_say_nothing_of_order_or_key() -> None:
    public = text_card("ascii-lower-strip")
    tags = targets.targets(public, ["A1", "b2", "a1 ", ""], SALT).tags(SECRET)
    assert len(tags) == 4
    assert len(set(tags)) == 3, "a1 twice is one unit, asked twice"
    assert list(tags) == sorted(tags)
    assert tags == targets.targets(public, ["", "a1", "A1", "B2"], SALT).tags(SECRET)
    units = targets.targets(public, ["A1", "b2"], SALT).units
    assert not {unit.hex() for unit in units} & set(tags)
    assert not {hashlib.sha256(unit).hexdigest()[:32] for unit in units} & set(tags)
    assert not set(tags) & set(targets.targets(public, ["A1", "b2"], SALT).tags(b"t" * 32))
