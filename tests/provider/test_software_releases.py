"""A broker and software releases: overlapping upgrade, refused rollback, veto, and what each leaves in the log."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from provider_world import ENV, Vault, World
from typer.testing import CliRunner

from cloister import cli
from cloister.attest import releases, verifiers
from cloister.attest.endorsements import Endorsements, add, read_entry
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.attest.policy import write_policy
from cloister.attest.releases import SoftwareRelease
from cloister.contract.clauses import Software
from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.provider import backup, clock, schema, software
from cloister.wire import canonical
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

SIGNER, STRANGER = SigningKey.from_bytes(b"r" * 32), SigningKey.from_bytes(b"s" * 32)
NEW = "sha384:" + "cd" * 48


def signed(version: str, env: str, key: SigningKey = SIGNER) -> Envelope:
    return releases.sign_release(SoftwareRelease(version, key.did, env, "2026-01-01T00:00:00Z"), key)


OLD_RELEASE, NEW_RELEASE = signed("1.0", ENV), signed("1.1", NEW)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    # The policy lists no code at all: what may run is what the contract's signer released.
    policy = write_policy("test", tees=("simulator",), simulated=True, env_digests=())
    made = World(tmp_path, policy=policy, software=Software((SIGNER.did,), "1.0", 7))
    software.add(made.home, OLD_RELEASE)
    yield made
    made.broker.close()


def admitted(world: World, env: str) -> str:
    """Return "ok", or the code that refuses a new vault with this code."""
    reply = Vault(world).session(env=env)
    return reply.status if reply.status == "ok" else reply.reason.partition(":")[0]


def test_a_patch_needs_no_new_contract(world: World) -> None:
    assert admitted(world, ENV) == "ok"
    assert admitted(world, NEW) == "release.unknown"
    software.add(world.home, NEW_RELEASE)
    assert admitted(world, NEW) == "ok"
    assert admitted(world, ENV) == "ok"


def test_a_release_of_somebody_else_counts_for_nothing(world: World) -> None:
    software.add(world.home, signed("2.0", NEW, STRANGER))
    assert admitted(world, NEW) == "release.signer"


def test_after_the_overlap_an_older_version_is_not_admitted_again(world: World) -> None:
    software.add(world.home, NEW_RELEASE)
    assert admitted(world, NEW) == "ok"
    world.later(days=7)
    assert admitted(world, ENV) == "ok"
    world.later(seconds=1)
    assert admitted(world, ENV) == "release.rollback"
    # Neither a restart nor the loss of the newer release makes it forget.
    world.restart()
    (world.home.software_folder / f"{releases.digest_of(NEW_RELEASE).removeprefix('sha256:')}.json").unlink()
    assert admitted(world, ENV) == "release.rollback"


def test_admitting_the_older_one_does_not_lower_what_is_remembered(world: World) -> None:
    software.add(world.home, NEW_RELEASE)
    assert [admitted(world, env) for env in (NEW, ENV, ENV)] == ["ok"] * 3
    held = software.read(world.home).admitted[world.digest]
    assert (held.version, held.time) == ("1.1", clock.text(world.now))


def test_the_highest_version_is_remembered_across_an_amendment(world: World) -> None:
    software.remember(world.home, "sha256:" + "7" * 64, releases.open_release(NEW_RELEASE), now="2026-01-01T00:00:00Z")
    amended = msgspec.structs.replace(world.contract, amends="sha256:" + "7" * 64)
    agreed = software.agreed(world.home, amended, world.digest, "")
    assert agreed.software is not None
    assert agreed.software.highest is not None
    assert agreed.software.highest.version == "1.1"
    assert software.agreed(world.home, world.contract, world.digest, "").software.highest is None  # type: ignore[union-attr]


def test_the_highest_version_is_remembered_across_two_amendments(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the one between them nothing was ever admitted; a circle ends."""
    first, second = "sha256:" + "7" * 64, "sha256:" + "8" * 64
    software.remember(world.home, first, releases.open_release(NEW_RELEASE), now="2026-01-01T00:00:00Z")
    known = world.home.contracts.get(world.digest)
    assert known is not None
    between = msgspec.structs.replace(known, contract=msgspec.structs.replace(world.contract, amends=first))
    circle = msgspec.structs.replace(known, contract=msgspec.structs.replace(world.contract, amends=second))
    on_file = {second: between, first: circle}
    monkeypatch.setattr(world.home.contracts, "get", on_file.get)
    agreed = software.agreed(
        world.home, msgspec.structs.replace(world.contract, amends=second), world.digest, ""
    ).software
    assert agreed is not None
    assert agreed.highest is not None
    assert agreed.highest.version == "1.1"


def test_a_memory_that_cannot_be_read_lets_nobody_in(world: World) -> None:
    world.home.software_file.write_text("{")
    assert admitted(world, ENV) == "release.file"


def test_a_veto_stops_new_sessions_and_running_vaults(world: World) -> None:
    running = world.vault()
    assert running.append("sha256:" + "1" * 64).status == "ok"
    software.veto(world.home, OLD_RELEASE, now=clock.text(world.now), reason="leaks")
    refused = running.append("sha256:" + "2" * 64)
    assert (refused.status, "leaks" in refused.reason) == ("contract.inactive", True)
    assert running.tip().status == "contract.inactive"
    assert admitted(world, ENV) == "release.vetoed"
    # The same code under a new version, a new signature, or the policy's own list stays vetoed.
    software.add(world.home, signed("1.5", ENV))
    assert admitted(world, ENV) == "release.vetoed"
    # Other code goes on.
    software.add(world.home, NEW_RELEASE)
    assert admitted(world, NEW) == "ok"


def test_a_veto_needs_no_clause(tmp_path: Path) -> None:
    plain = World(tmp_path)
    assert admitted(plain, ENV) == "ok"
    software.veto(plain.home, OLD_RELEASE, now=clock.text(plain.now))
    assert admitted(plain, ENV) == "release.vetoed"
    plain.broker.close()


def test_vetoes_and_versions_are_in_a_backup(world: World, tmp_path: Path) -> None:
    software.veto(world.home, NEW_RELEASE, now=clock.text(world.now))
    assert admitted(world, ENV) == "ok"
    backup.backup(world.home, tmp_path / "kept", now=clock.text(world.now))
    backup.restore(tmp_path / "kept", tmp_path / "again", now=clock.text(world.now))
    again = type(world.home)(tmp_path / "again")
    assert software.read(again) == software.read(world.home)
    assert software.known(again) == software.known(world.home)


def test_a_broker_verifies_with_the_endorsements_it_keeps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, bytes]] = []

    def verify(evidence: Evidence, data: bytes, given: Any, now: datetime) -> Claims:
        seen.append(dict(given))
        raise RejectedError("evidence.signature", "no matter")

    monkeypatch.setattr(verifiers, "installed", lambda: {"gcp-oidc": verify})
    bundle = add(Endorsements(), read_entry("jwks", b"keys", world.now))
    world.home.endorsements_file.write_bytes(canonical.encode(bundle))
    vault = Vault(world)
    offer = vault.offer(vault.hello())
    offer = msgspec.structs.replace(offer, evidence=msgspec.structs.replace(offer.evidence, tee="gcp-oidc"))
    assert vault.ask("session", vault.session_request(offer)).reason.startswith("evidence.signature")
    assert seen == [{"jwks": b"keys"}]
    # Endorsements that are there and cannot be read are not passed over.
    world.home.endorsements_file.write_bytes(b"{")
    assert admitted(world, ENV) == "endorsements.bundle"


# Commands ---------------------------------------------------------------------------------------------


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli.whole(), [str(argument) for argument in arguments])
    if isinstance(result.exception, CloisterError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_from_measurement_to_veto_by_command(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path / "home"))
    key, reference, release = tmp_path / "signer.key", tmp_path / "reference.toml", tmp_path / "release.json"
    run("identity", key)
    reference.write_text(
        f'env_digest = "{NEW}"\n[[reference]]\ntee = "snp"\nlaunch = ["measurement={"0" * 96}"]\ncovers_code = true\n'
        '[reference.found]\nmeasurement = "read from the machine"\n'
    )
    run("release", "sign", reference, "--version", "1.2", "--key", key, "--out", release)
    did = releases.open_release(json_envelope(release)).signer
    assert "covers the code on disk" in run("release", "verify", release, "--signer", did)
    with pytest.raises(TrustError) as excinfo:
        run("release", "verify", release, "--signer", SIGNER.did)
    assert excinfo.value.code == "release.signer"
    run("release", "add", release)
    run("release", "add", release, "--broker", world.home.directory)
    run("release", "veto", world.home.directory, "1.2", "--reason", "leaks")
    assert software.read(world.home).vetoed[NEW].reason == "leaks"
    with world.broker.accounts.database.transaction() as db:
        log = b"".join(db.scalars(sa.select(schema.events.c.body)).all())
    assert b'"op":"release.add"' in log
    assert b'"op":"release.veto"' in log
    assert NEW.encode() in log, "the code, which a recovered broker must know"
    assert b'"op":"release.veto-launch"' in log, "a recovery vetoes its launches again, too"
    (launch,) = software.read(world.home).launches
    assert (launch.launch.tee, launch.launch.measurements) == ("snp", (f"measurement={'0' * 96}",))
    for words in ([], ["7.7"], ["1.2", "--measurement", "snp:measurement=00"]):
        with pytest.raises(MalformedError) as unknown:
            run("release", "veto", world.home.directory, *words)
        assert unknown.value.code == "release.unknown"


def test_launches_are_vetoed_by_measurement(world: World) -> None:
    """Of code whose release nobody has: what is measured is enough to stop it."""
    said = ("--measurement", f"tdx:rtmr0={'2' * 96}", "--measurement", f"tdx:mr_td={'1' * 96}", "--reason", "leaks")
    assert "vetoed: tdx" in run("release", "veto", world.home.directory, *said)
    (one,) = software.read(world.home).launches
    assert (one.launch.measurements, one.veto.reason) == ((f"mr_td={'1' * 96}", f"rtmr0={'2' * 96}"), "leaks")
    for bad in (
        ["measurement=00"],
        ["snp:measurement"],
        ["sgx9:mrenclave=00"],
        ["snp:chip_id=00"],
        ["snp:measurement=00", "--measurement", "tdx:mr_td=00"],
    ):
        with pytest.raises(MalformedError) as excinfo:
            run("release", "veto", world.home.directory, "--measurement", *bad)
        assert excinfo.value.code == "release.measurement"


def test_after_a_burnt_gap_the_owner_says_the_least_version(world: World) -> None:
    assert admitted(world, ENV) == "ok"
    software.lose(world.home, now=clock.text(world.now))
    assert admitted(world, ENV) == "release.lost"
    with pytest.raises(MalformedError) as unknown:
        run("release", "least", world.home.directory, "sha256:0", "1.0")
    assert unknown.value.code == "release.unknown"
    assert "nothing below 1.0" in run("release", "least", world.home.directory, world.digest, "1.0")
    assert admitted(world, ENV) == "ok"
    with world.broker.accounts.database.transaction() as db:
        log = b"".join(db.scalars(sa.select(schema.events.c.body)).all())
    assert b'"op":"release.least"' in log


def json_envelope(path: Path) -> Envelope:
    return msgspec.json.decode(path.read_bytes(), type=Envelope)


def test_what_is_no_release_is_not_kept(world: World, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    body = json.loads(canonical.encode(OLD_RELEASE))
    for text in ("{}", json.dumps({**body, "payload": "AAAA"})):
        path.write_text(text)
        with pytest.raises(CloisterError) as excinfo:
            run("release", "add", path, "--broker", world.home.directory)
        assert excinfo.value.code.startswith("release.")
    assert software.known(world.home) == (OLD_RELEASE,)
