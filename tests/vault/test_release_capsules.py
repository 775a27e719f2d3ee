"""Capsules: whatever is altered, cut, swapped or missing, no plaintext is parsed and nothing is charged."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from vault_world import World, all_keys, context, every, numbered, visits, visits_card

from cloister.contract import capsule, capsule_keys, signing
from cloister.contract.capsule_keys import TableKeys
from cloister.errors import CloisterError, SignatureError, TrustError, UnavailableError
from cloister.provider import checkpoints
from cloister.provider import seal as sealing
from cloister.receipt import audit
from cloister.receipt.events import Event
from cloister.vault.capsules import open_capsule
from cloister.vault.config import open_config
from cloister.vault.release import release
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal, unverified_payload
from cloister.wire.identity import SigningKey

FIRST = "part-0-0-0.parquet"
Damage = Callable[[Path], None]


def flip(name: str, position: int) -> Damage:
    def apply(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[position] ^= 1
        (folder / name).write_bytes(data)

    return apply


def cut(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1])  # type: ignore[func-returns-value,return-value]


def grow(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"x")  # type: ignore[func-returns-value,return-value]


def swap(folder: Path) -> None:
    one, two = folder / "part-0-0-0.parquet", folder / "part-0-1-0.parquet"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)


def plain(folder: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(visits(), folder / "part-0-0-0.parquet")


def cut_to(length: int) -> Damage:
    return lambda folder: (folder / FIRST).write_bytes((folder / FIRST).read_bytes()[:length])  # type: ignore[func-returns-value,return-value]


def copied(world: World, source: str, target: str) -> Damage:
    """A file of another capsule in the place of one of this: of the same table, or of another provider's."""

    def apply(folder: Path) -> None:
        place = world.customers.directory
        if source != "bank":
            place = folder.with_name("again")
            sealing.seal(world.card, visits(), place, world.anna)
        shutil.copy(place / target, folder / target)

    return apply


def unsigned(folder: Path) -> None:
    """A signature that is none of its signer's."""
    document = json.loads((folder / "manifest.json").read_bytes())
    document["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    (folder / "manifest.json").write_text(json.dumps(document))


def former(folder: Path) -> None:
    document = seal("application/vnd.cloister.manifest.v1+json", b"{}", SigningKey.generate())
    (folder / "manifest.json").write_bytes(canonical.encode(document))


def audited(world: World, state: Any, transport: Any, kind: str = "capsule") -> list[Event]:
    """Return what the provider's log says of refused capsules, as an auditor reads it."""
    state.refusals.flush()
    broker = transport._brokers[world.anna_broker.did]
    broker.journal.flush()
    found: list[Event] = []
    lines = checkpoints.write_export(world.anna_home, broker.accounts, now=broker.now(), actor="owner")
    audit.Audit(event=found.append).check(list(lines))
    return [event for event in found if event.op == kind]


def empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"{}")


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (flip("part-0-0-0.parquet", 100), "capsule.part"),
        (flip("part-0-0-0.parquet", -20), "capsule.part"),
        (flip("part-0-1-0.parquet", 0), "capsule.part"),
        (cut("part-0-0-0.parquet"), "capsule.part"),
        (grow("part-0-0-0.parquet"), "capsule.part"),
        (swap, "capsule.part"),
        (plain, "capsule.part"),
        (flip("manifest.json", 60), None),
        (cut("manifest.json"), "capsule.manifest"),
        (empty_manifest, "capsule.manifest"),
        (lambda folder: (folder / "part-0-0-0.parquet").unlink(), "capsule.missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "capsule.missing"),
        (shutil.rmtree, "capsule.missing"),
        (cut_to(0), "capsule.part"),
        (cut_to(11), "capsule.part"),
        (cut_to(5000), "capsule.part"),
        (lambda folder: (folder / FIRST).write_bytes(bytes(50_000)), "capsule.part"),
        (former, "capsule.version"),
        (unsigned, "signature.invalid"),
        (("again", FIRST), "capsule.part"),
        (("bank", FIRST), "capsule.part"),
        (("again", "manifest.json"), "capsule.manifest"),
        (("bank", "manifest.json"), "signature.missing"),
    ],
)
def test_a_damaged_capsule_is_not_opened(audited_world: World, tmp_path: Path, damage: Any, code: str | None) -> None:
    """The right code, nothing charged or released, and an entry in the log of the provider whose capsule it is."""
    damage = copied(audited_world, *damage) if isinstance(damage, tuple) else damage
    folder = tmp_path / "capsule"
    shutil.copytree(audited_world.visits.directory, folder)
    damage(folder)
    capsules = {**audited_world.config()["capsules"], audited_world.visits.manifest_digest: str(folder)}
    state, transport = audited_world.state(capsules=capsules)
    with pytest.raises((TrustError, UnavailableError, SignatureError)) as refused:
        release(state, context(audited_world), numbered(1))
    assert code is None or refused.value.code == code
    assert "/v1/append" not in transport.posts
    assert str(folder) not in str(refused.value)
    mine = [event for event in audited(audited_world, state, transport) if event.contract == state.terms.digest]
    assert [event.status for event in mine] == [refused.value.code]
    assert (mine[0].kind, mine[0].subject) == ("refusal", audited_world.visits.manifest_digest)
    assert mine[0].actor == state.keys.vault_id


def test_what_the_contract_does_not_cover_is_not_even_read(audited_world: World, tmp_path: Path) -> None:
    folder = tmp_path / "capsule"
    shutil.copytree(audited_world.visits.directory, folder)
    (folder / "part-0-2-0.parquet").unlink()
    capsules = {**audited_world.config()["capsules"], audited_world.visits.manifest_digest: str(folder)}
    state, transport = audited_world.state(capsules=capsules)
    assert release(state, context(audited_world), numbered(1)).receipt.raw
    assert [event for event in audited(audited_world, state, transport) if event.contract == state.terms.digest] == []


@pytest.mark.parametrize("change", ["swapped", "altered", "of another provider"])
def test_a_swapped_card_starts_no_vault(audited_world: World, change: str) -> None:
    config = audited_world.config()
    mine, bank = config["cards"]
    altered = msgspec.structs.replace(audited_world.card, rows_per_unit=1)
    signed = msgspec.to_builtins(signing.seal_card(altered, audited_world.anna))
    other = msgspec.to_builtins(signing.seal_card(audited_world.card, audited_world.bank))
    del mine
    cards = {"swapped": [bank, bank], "altered": [signed, bank], "of another provider": [other, bank]}[change]
    with pytest.raises(CloisterError) as refused:
        open_config(canonical.encode({**config, "cards": cards}))
    # Two signatures under one payload are one digest: then the signer is missing.
    assert refused.value.code == ("card.signature" if change == "of another provider" else "card.missing")


def test_a_broker_that_does_not_answer_hides_no_refusal(audited_world: World, tmp_path: Path) -> None:
    state, transport = audited_world.state(capsules={})
    transport.before = lambda path, body: None if path == "/v1/tip" else body
    with pytest.raises(UnavailableError) as refused:
        release(state, context(audited_world), numbered(1))
    assert refused.value.code == "capsule.missing"


def test_a_genuine_capsule_that_the_contract_does_not_pin(audited_world: World, tmp_path: Path) -> None:
    other = sealing.seal(audited_world.card, visits().slice(0, 100), tmp_path / "other", audited_world.anna)
    capsules = {**audited_world.config()["capsules"], audited_world.visits.manifest_digest: str(other.directory)}
    state, _ = audited_world.state(capsules=capsules)
    with pytest.raises(TrustError) as refused:
        release(state, context(audited_world), numbered(1))
    assert refused.value.code == "capsule.manifest"


def test_a_capsule_the_enclave_does_not_have(audited_world: World) -> None:
    state, _ = audited_world.state(capsules={})
    with pytest.raises(UnavailableError) as refused:
        release(state, context(audited_world), numbered(1))
    assert refused.value.code == "capsule.missing"


def test_key_signer_and_card_of_a_capsule(audited_world: World) -> None:
    sealed, card = audited_world.visits, audited_world.card
    terms = audited_world.contract().tables[0]

    def opening(**changes: object) -> pa.Table:
        arguments = {
            "provider_did": audited_world.anna.did,
            "card": card,
            "keys": all_keys(sealed, card.name),
            "columns": every(card),
            **changes,
        }
        return open_capsule(sealed.directory, terms, **arguments)  # type: ignore[arg-type]

    table = opening()
    present = table.filter(pa.compute.is_valid(table["patient"]))
    assert present.to_pylist() == visits().to_pylist()
    assert table.num_rows == card.row_limit
    for changes, code in (
        ({"keys": all_keys(sealed, card.name, bytes(32))}, "capsule.key"),
        (
            {"keys": TableKeys(all_keys(sealed, card.name).secret, all_keys(sealed, card.name, bytes(32)).groups)},
            "capsule.key",
        ),
        ({"keys": all_keys(sealed, card.name)._replace(groups={})}, "capsule.key"),
        ({"provider_did": audited_world.bank.did}, "signature.missing"),
        ({"card": visits_card(columns=card.columns[:-1])}, "capsule.card"),
        ({"card": visits_card(name="st_anna.other")}, "capsule.card"),
    ):
        with pytest.raises(CloisterError) as refused:
            opening(**changes)
        assert refused.value.code == code


def test_a_capsule_may_not_hold_other_types_than_its_card(audited_world: World, tmp_path: Path) -> None:
    """A manifest can be genuine and still lie about its parts: the vault looks."""
    sealed = audited_world.visits
    folder = tmp_path / "capsule"
    shutil.copytree(sealed.directory, folder)
    document = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Envelope)
    manifest = msgspec.json.decode(unverified_payload(document), type=capsule.Manifest)
    lying = visits_card(
        columns=tuple(
            msgspec.structs.replace(c, type="decimal", step="1") if c.name == "age" else c
            for c in audited_world.card.columns
        )
    )
    terms = audited_world.contract().tables[0]
    with pytest.raises(TrustError) as refused:
        open_capsule(folder, terms, audited_world.anna.did, lying, all_keys(sealed, lying.name), columns=every(lying))
    assert refused.value.code == "capsule.part"
    assert json.loads((folder / "manifest.json").read_text())["payloadType"] == capsule.MANIFEST_TYPE
    assert manifest.tables[0].name == lying.name


@pytest.mark.parametrize("lie", ["rows", "columns"])
def test_a_manifest_that_lies_about_its_parts(audited_world: World, tmp_path: Path, lie: str) -> None:
    """Signed by the provider, pinned by the contract, keys in order: rows and columns are counted all the same."""
    sealed, card = audited_world.visits, audited_world.card
    folder = tmp_path / "capsule"
    shutil.copytree(sealed.directory, folder)
    document = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Envelope)
    manifest = msgspec.json.decode(unverified_payload(document), type=capsule.Manifest)
    keys = all_keys(sealed, card.name)
    boxes = {
        (box.table, box.group): capsule_keys.open_box(keys.groups[box.group], manifest, box.table, box.group)
        for box in manifest.sealed
    }
    if lie == "rows":
        parts = tuple(msgspec.structs.replace(part, rows=1000) for part in manifest.parts)
        tables = tuple(msgspec.structs.replace(table, rows=1000) for table in manifest.tables)
        manifest = msgspec.structs.replace(manifest, parts=parts, tables=tables)
    else:
        parts = tuple(msgspec.structs.replace(part, columns=part.columns[::-1]) for part in manifest.parts)
        manifest = msgspec.structs.replace(manifest, parts=parts)
    manifest = capsule_keys.seal_keys(sealed.data_key, manifest, boxes)
    document = capsule.seal_manifest(manifest, audited_world.anna)
    (folder / "manifest.json").write_bytes(canonical.encode(document))
    terms = msgspec.structs.replace(audited_world.contract().tables[0], manifest=canonical.digest(manifest))
    with pytest.raises(TrustError) as refused:
        open_capsule(folder, terms, audited_world.anna.did, card, keys, columns=every(card))
    assert refused.value.code == "capsule.part"
