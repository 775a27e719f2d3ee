"""``cloister account report``: both epsilons of a real account, through the real command."""

from __future__ import annotations

import re
import subprocess
import sys
from fractions import Fraction

import msgspec
import pytest

from cloister.contract.usage import Usage
from cloister.errors import CloisterError, MalformedError
from cloister.plan import tighter
from cloister.plan.precision import epsilon_of_rho
from cloister.provider import account_commands, reports
from cloister.provider.accounts import Accounts
from cloister.receipt.ledger import Entry, ExitEntry
from cloister.wire import canonical

DELTA = Fraction(1, 10**6)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from cloister.cli import main; main()", "account", "report"]
    return subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def account(world, vault):
    """Three charges: sums, a quantile beside sums, and threshold keys."""
    changes = ({}, {"maxima": "1/2000"}, {"delta": "1/10000000"})
    for number, change in enumerate(changes):
        entry = vault.entry(f"charge-{number}", "1/1000", **change)
        if change.get("delta"):
            # The contract grants none; an account that had some before is read all the same.
            ledger = Accounts(world.home.accounts_file)
            granted = world_grant()
            time = "2026-06-01T00:00:00Z"
            booked = ledger.append(entry, granted, vault_id=vault.key.did, epoch=vault.epoch, time=time)
            ledger.close()
            assert booked.status == "ok", booked
        else:
            reply = vault.ask("append", vault.append_request(entry))
            assert reply.status == "ok", reply.reason
    return world


def world_grant():
    from cloister.contract.terms import Limits
    from cloister.provider.accounts import Granted

    whole = Fraction(1)
    return Granted(whole, whole, Limits(100, 10**6, 10**4, 10), DELTA, DELTA)


def test_the_command_reports_what_the_entries_compose_to(account):
    done = command(account.directory / "broker")
    assert (done.returncode, done.stderr) == (0, "")
    found = reports.reports(account.home)["clinic.patients"]
    spent = tighter.Spent(Fraction(3, 1000), Fraction(1, 2000), Fraction(1, 10**7))
    assert (found.releases, found.delta, found.report) == (3, DELTA, tighter.report(spent, DELTA))
    assert found.report.promised == float(epsilon_of_rho(spent.rho, DELTA - spent.delta))
    text = " ".join(done.stdout.split())
    assert f"{found.report.promised:.4g} {found.report.epsilon:.4g}" in text
    assert tighter.LABEL in text
    assert re.search(r"3 releases; (privacy loss distributions|zCDP)", text), "it says how it was computed"


def test_the_vault_says_what_is_for_quantiles_and_the_report_reads_it(account):
    """Without the entry's own word a quantile would be composed as Gaussian noise, which is too little."""
    pytest.importorskip("dp_accounting")
    found = reports.reports(account.home)["clinic.patients"].report
    assert found.epsilon > tighter.report(tighter.Spent(Fraction(3, 1000), delta=Fraction(1, 10**7)), DELTA).epsilon


def test_at_another_delta(account, capsys):
    account_commands.report(account.directory / "broker", "0.00001")
    found = reports.reports(account.home, Fraction(1, 10**5))["clinic.patients"].report
    assert f"{found.promised:.4g} {found.epsilon:.4g}" in " ".join(capsys.readouterr().out.split())
    assert found.promised < reports.reports(account.home)["clinic.patients"].report.promised


@pytest.mark.parametrize("delta", ["0", "1", "-1", "x", "1e-6", "1/0"])
def test_no_delta_is_refused(account, delta):
    with pytest.raises(MalformedError, match=r"account\.delta") as caught:
        account_commands.report(account.directory / "broker", delta)
    assert caught.value.next_step == "write --delta 0.000001"


def test_a_delta_that_keys_have_spent_names_the_account(account):
    with pytest.raises(CloisterError, match=r"plan\.delta") as caught:
        account_commands.report(account.directory / "broker", "0.0000001")
    assert "clinic.patients" in caught.value.reason
    assert caught.value.next_step == "ask at a delta above 1e-07"


def test_help_and_a_wrong_directory_are_words_and_no_traceback(tmp_path):
    shown = command("--help")
    assert shown.returncode == 0
    assert "no release is decided by it" in " ".join(shown.stdout.split())
    done = command(tmp_path / "none")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


def test_exits_are_counted_beside_both_numbers(account, capsys):
    """Match and Deliver carry no noise: no epsilon is about them, and the report says how many there were."""
    entry = Entry(
        "exit-1", "clinic.patients", account.digest, account.analyst.did, "0", "0", "sha256:plan", Usage(64, 2, 0),
        exit=ExitEntry("match", 0, ("tag",)),
    )  # fmt: skip
    bodies = Accounts(account.home.accounts_file)
    before = [msgspec.json.decode(body, type=Entry) for body in bodies.entries("clinic.patients")]
    bodies.close()
    assert reports.spent([*before, entry]) == reports.spent(before)
    account_commands.report(account.directory / "broker", "")
    assert "exits" not in capsys.readouterr().out
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Accounts, "entries", lambda *_: tuple(map(canonical.encode, [*before, entry])))
        account_commands.report(account.directory / "broker", "")
        assert reports.reports(account.home)["clinic.patients"].releases == 3
    assert "excluded from both: 1 exits (match, deliver)" in " ".join(capsys.readouterr().out.split())


def test_an_empty_account_says_so(world, capsys):
    account_commands.report(world.directory / "broker", "")
    assert "nothing was released" in capsys.readouterr().out


def test_a_part_that_is_more_than_the_charge_is_no_charge(world, vault):
    for maxima in ("1/500", "-1/5000", "1e-5"):
        with pytest.raises(MalformedError, match=r"ledger\.(maxima|fraction)"):
            vault.ask("append", vault.append_request(vault.entry("odd", "1/1000", maxima=maxima)))
    assert vault.tip().size == 0
