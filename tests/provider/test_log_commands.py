"""The commands an operator, an auditor and a paying analyst type, in their order, on files alone where it matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from log_world import spend
from provider_world import POPULATION, World
from typer.testing import CliRunner

from cloister.cli import whole
from cloister.errors import CloisterError, MalformedError, RefusedError, TrustError
from cloister.provider import clock
from cloister.reviewer import logs
from cloister.reviewer.audit_commands import documents
from cloister.wire.identity import SigningKey

TARIFF = 'currency = "EUR"\n[[price]]\nitem = "releases"\namount = "1.50"\n'


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(whole(), [str(one) for one in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("commands"))
    spend(made, 2)
    made.broker.close()
    yield made


def test_an_auditor_needs_two_files_and_nothing_else(world, tmp_path):
    home, did = world.home.directory, world.broker_key.did
    first, second, export = tmp_path / "one", tmp_path / "two", tmp_path / "export"
    run("checkpoint", "take", home, "--out", first)
    run("checkpoint", "take", home, "--out", second, "--since", first, "--charge", f"{POPULATION}=c1")
    said = run("checkpoint", "check", second, "--since", first, "--broker", did)
    assert "it extends the checkpoint of" in said
    assert f"entry 1 of {POPULATION} is in it" in said
    run("audit", "export", home, "--out", export)
    said = run("audit", "check", export, "--broker", did, "--earlier", first, "--earlier", second)
    assert "sound: the logs are those that were signed" in said
    # A reviewer of a notebook reads from it what was done under its contract, and holds it to the checkpoints.
    checkpoints = [document for one in (first, second) for document in documents(one)]
    (log,) = logs.read_logs([export], world.digest, checkpoints)
    (session,) = log.sessions
    assert (log.dids, session.epoch, session.time) == ({did}, 1, clock.text(world.now))
    assert log.charges == {(POPULATION, "c0"): 0, (POPULATION, "c1"): 1}
    assert (logs.is_export(export), logs.is_export(first)) == (True, False)
    assert logs.read_logs([export], "sha256:another")[0].charges == {}
    with pytest.raises(MalformedError, match=r"log\.checkpoint"):
        logs.read_logs([], world.digest, checkpoints)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(export.read_bytes().replace(b'"epoch":1', b'"epoch":2', 1))
    with pytest.raises(TrustError, match=r"audit\.unsound"):
        logs.read_logs([damaged], world.digest)
    # In another process, where the provider's extra is not installed.
    script = (
        "import sys\n"
        "for name in ('sqlalchemy', 'starlette'): sys.modules[name] = None\n"
        "from cloister.cli import whole\n"
        "whole()(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", script, "audit", "check", str(export), "--earlier", str(first)]
    empty = {**os.environ, "HOME": str(tmp_path), "CLOISTER_HOME": str(tmp_path / "none")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=empty, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sound:" in done.stdout
    # What was changed is told, and by the exit code too.
    export.write_bytes(export.read_bytes().replace(b'"rho":"1/1000"', b'"rho":"1/1001"'))
    assert "not sound" in run("audit", "check", export, code=2)
    report = json.loads(CliRunner().invoke(whole(), ["audit", "check", str(export), "--json"]).output)
    assert {"log.root", "entry.event"} <= {one["code"] for one in report["findings"]}
    for command in (("alerts", export), ("report", export)):
        with pytest.raises(TrustError):
            run("audit", *command)


def test_an_invoice_is_checked_by_who_gets_it(world, tmp_path):
    export, tariff, bill = tmp_path / "export", tmp_path / "tariff.toml", tmp_path / "invoice"
    tariff.write_text(TARIFF)
    run("audit", "export", world.home.directory, "--out", export)
    assert "total 3.00 EUR" in run("invoice", export, "--tariff", tariff, "--out", bill)
    later = tmp_path / "later"
    run("audit", "export", world.home.directory, "--out", later)
    assert "the same invoice: 3.00 EUR" in run("invoice", later, "--tariff", tariff, "--check", bill)
    bill.write_bytes(bill.read_bytes().replace(b'"3.00"', b'"4.00"'))
    assert "another invoice" in run("invoice", later, "--tariff", tariff, "--check", bill, code=2)


def test_alerts_and_reports(world, tmp_path):
    export = tmp_path / "export"
    run("audit", "export", world.home.directory, "--out", export)
    said = run("audit", "alerts", export)
    assert "rule 1 (malicious code): not applicable:" in said
    assert "rule 14 (crawling): applied" in said
    assert "2 charge" in run("audit", "report", export)
    assert "2 charge" not in run("audit", "report", export, "--from", "2099-01-01T00:00:00Z")


def test_backup_restore_recover(world, tmp_path):
    archive, home, export = tmp_path / "backup", tmp_path / "restored", tmp_path / "export"
    run("broker", "backup", world.home.directory, "--out", archive)
    run("audit", "export", world.home.directory, "--out", export)
    assert "read-only until" in run("broker", "restore", archive, home)
    with pytest.raises(RefusedError) as stopped:
        run("audit", "export", home, "--out", tmp_path / "none")
    assert stopped.value.code == "broker.restored"
    with pytest.raises(RefusedError) as stopped:
        run("ledger", "recover", home)
    assert stopped.value.code == "recover.gap"
    assert "0 entries and 1 events were brought back" in run("ledger", "recover", home, "--proof", export)
    run("audit", "export", home, "--out", export)
    run("audit", "check", export)


def test_an_anchor_file_is_a_proof(world, tmp_path):
    anchor = tmp_path / "anchor"
    for _ in range(2):
        run("checkpoint", "take", world.home.directory, "--out", tmp_path / "c", "--anchor", anchor)
    assert len(anchor.read_bytes().splitlines()) == 2
    export = tmp_path / "export"
    run("audit", "export", world.home.directory, "--out", export)
    run("audit", "check", export, "--earlier", anchor)


def test_what_the_owner_decides_is_in_the_log(make_world, tmp_path):
    world = make_world()
    world.broker.close()
    home, export = world.home.directory, tmp_path / "export"
    run("broker", "suspend", home, world.digest, "--reason", "an audit")
    run("broker", "resume", home, world.digest)
    run("audit", "export", home, "--out", export)
    decided = [json.loads(line) for line in export.read_bytes().splitlines() if b'"kind":"decision"' in line]
    assert [(one["actor"], one["status"], one["contract"]) for one in decided] == [
        ("owner", "suspended", world.digest),
        ("owner", "active", world.digest),
    ]


def test_roles_and_revocation(world):
    home, did = world.home.directory, SigningKey.generate().did
    run("broker", "grant", home, did, "auditor")
    assert f"{did} auditor" in run("broker", "roles", home)
    with pytest.raises(CloisterError):
        run("broker", "grant", home, did, "node_admin")
    run("broker", "ungrant", home, did, "auditor")
    assert did not in run("broker", "roles", home)
    run("broker", "revoke-did", home, did, "--reason", "left")
    with pytest.raises(RefusedError):
        run("broker", "purge", home, "--before", "2026-11-01T00:00:00Z")


def test_key_rotation_ends_contracts_and_keeps_accounts(make_world, tmp_path):
    world = make_world(not_after="2099-01-01T00:00:00Z")
    spend(world, 2)
    world.broker.close()
    home, old = world.home.directory, world.broker_key
    before, export = tmp_path / "before", tmp_path / "export"
    run("checkpoint", "take", home, "--out", before)
    with pytest.raises(RefusedError) as stopped:
        run("broker", "rotate-key", home)
    assert stopped.value.code == "rotation.contracts"
    assert world.home.identity().did == old.did
    run("broker", "rotate-key", home, "--stop-contracts")
    new = world.home.identity()
    assert new.did != old.did
    assert old.private_bytes() not in b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
    world.broker = world.start()
    world.broker_key = new
    assert world.broker.accounts.read_tip(POPULATION).size == 2
    world.broker.close()
    # An auditor follows the statement from the old key to the new one.
    run("audit", "export", home, "--out", export)
    assert "sound:" in run("audit", "check", export, "--broker", new.did)
    header = json.loads(export.read_bytes().splitlines()[0])
    header["succession"] = []
    lines = export.read_bytes().splitlines(keepends=True)
    export.write_bytes(json.dumps(header).encode() + b"\n" + b"".join(lines[1:]))
    run("audit", "check", export, "--broker", new.did, code=2)
