"""What a reviewer learns from the brokers' logs beside the notebook: software that went back, sessions, charges."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from signed_world import ENV, TIME, Story
from typer.testing import CliRunner

from cloister.attest.releases import SoftwareRelease, sign_release
from cloister.cli import whole
from cloister.contract.clauses import Software
from cloister.errors import MalformedError
from cloister.reviewer.logs import BrokerLog, Session
from cloister.reviewer.report import Report
from cloister.reviewer.trust import MeasurementPin, ProviderPin, ReviewerTrust
from cloister.reviewer.verify import verify
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

NOW = datetime(2026, 6, 2, tzinfo=UTC)
SIGNER, OTHER = SigningKey.generate(), SigningKey.generate()
LONG_BEFORE, LATE = "2026-01-02T00:00:00Z", "2026-12-01T00:00:00Z"


@pytest.fixture(scope="module")
def story() -> Story:
    return Story(terms={"software": Software((SIGNER.did,), "1.2", overlap_days=7)})


def release(version: str) -> Envelope:
    return sign_release(SoftwareRelease(version, SIGNER.did, ENV, "2026-01-01T00:00:00Z"), SIGNER)


def log_of(story: Story, *before: Session, **changes: Any) -> BrokerLog:
    """Return an honest broker's log: sessions of others, then the notebook's; its charges."""
    world = story.world
    mine = Session(world.vault.did, 1, TIME, "1.2")
    charges = {
        (charge.population, receipt.charge_id): charge.size - 1
        for receipt in (story.count, story.means)
        for charge in receipt.charges
    }
    log = BrokerLog(frozenset({world.broker.did}), LATE, (*before, mine), charges)
    return msgspec.structs.replace(log, **changes)


def check(story: Story, *logs: BrokerLog) -> Report:
    pinned = ReviewerTrust(provider=(ProviderPin(story.world.provider.did),), measurement=(MeasurementPin(ENV),))
    notebook = story.notebook(software=[release("1.2")])
    return verify(notebook, now=NOW, trust=pinned, allow_simulated=True, brokers_logs=logs)


def failures(report: Report) -> list[str]:
    return [line.code for line in report.findings if line.level == "fail"]


def said(report: Report, code: str) -> list[tuple[str, str]]:
    return [(line.level, line.text) for line in report.findings if line.code == code]


def test_without_a_log_it_is_said_among_what_was_looked(story: Story) -> None:
    ((level, text),) = said(check(story), "agreed.rollback")
    assert (level, text) == (
        "note",
        "software that went back was looked for only among the 1 admissions by broker broker in this notebook, not in "
        "its log (--log)",
    )


def test_an_honest_log_proves_charges_and_says_how_far_it_goes(story: Story) -> None:
    report = check(story, log_of(story, Session("did:key:zElse", 1, LONG_BEFORE, "1.2")))
    assert failures(report) == []
    text = f"software that went back was looked for in all 2 sessions of broker broker up to {LATE}"
    assert said(report, "agreed.rollback") == [("ok", text)]
    assert said(report, "account.proven") == [("ok", "2 of 2 charges are proven to be in the brokers' logs")]


def test_software_that_went_back_is_found_in_the_log_alone(story: Story) -> None:
    """Another analyst's enclave was of a newer release, long before; the notebook knows nothing of it."""
    newer = Session("did:key:zElse", 1, LONG_BEFORE, "1.3")
    assert failures(check(story, log_of(story, newer))) == ["release.rollback"]
    within = msgspec.structs.replace(newer, time=TIME)
    assert failures(check(story, log_of(story, within))) == [], "both run for some days"
    assert failures(check(story, log_of(story, dids=frozenset({OTHER.did})))) == []


def test_what_came_after_the_notebooks_session_does_not_count(story: Story) -> None:
    log = log_of(story)
    after = Session("did:key:zElse", 2, LATE, "1.3")
    assert failures(check(story, msgspec.structs.replace(log, sessions=(*log.sessions, after)))) == []
    # Nor does it hide what came before.
    before = Session("did:key:zElse", 1, LONG_BEFORE, "1.3")
    later = msgspec.structs.replace(after, version="1.4")
    log = log_of(story, before, sessions=(before, *log.sessions, later))
    assert failures(check(story, log)) == ["release.rollback"]


def test_a_session_that_is_in_no_log(story: Story) -> None:
    assert failures(check(story, log_of(story, sessions=()))) == ["admission.unlogged"]
    late = check(story, log_of(story, sessions=(), charges={}, time=LONG_BEFORE))
    assert failures(late) == [], "the log ends before the notebook begins"
    ((level, text),) = said(late, "agreed.rollback")
    assert level == "note"
    assert text.endswith("; 1 of the notebook's are later")


def test_a_charge_that_is_in_no_log(story: Story) -> None:
    honest = log_of(story)
    (first, *others) = honest.charges.items()
    report = check(story, msgspec.structs.replace(honest, charges=dict(others)))
    assert failures(report) == ["account.entry"]
    later = {**honest.charges, first[0]: 10**6}
    assert failures(check(story, msgspec.structs.replace(honest, charges=later))) == ["account.entry"]


def test_a_log_of_somebody_else_is_named_and_unused(story: Story) -> None:
    report = check(story, log_of(story, dids=frozenset({OTHER.did}), sessions=(), charges={}))
    assert failures(report) == []
    assert said(report, "log.broker") == [("note", f"the log of {OTHER.did} is of no broker of this contract: unused")]
    assert said(report, "agreed.rollback")[0][0] == "note"


def test_the_command_reads_logs_and_refuses_what_is_none(story: Story, tmp_path: Path) -> None:
    sys.path.append(str(Path(__file__).parent.parent / "provider"))
    from log_world import exported
    from provider_world import World

    notebook, log = tmp_path / "n.ipynb", tmp_path / "log"
    notebook.write_text(json.dumps(story.notebook(software=[release("1.2")])))
    world = World(tmp_path / "world")
    log.write_bytes(b"".join(exported(world)))
    world.broker.close()
    done = CliRunner().invoke(whole(), ["verify", str(notebook), "--log", str(log), "--json"])
    assert f"the log of {world.broker_key.did} is of no broker" in " ".join(done.output.split())
    log.write_bytes(b"no log")
    with pytest.raises(MalformedError, match=r"checkpoint\.file"):
        CliRunner().invoke(whole(), ["verify", str(notebook), "--log", str(log)], catch_exceptions=False)
