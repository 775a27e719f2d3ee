"""A session that the enclave refuses to a named analyst is in the log of every broker of the contract."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from cloister.analyst import dial
from cloister.analyst.trust import TrustStore
from cloister.errors import ContractError
from cloister.receipt import audit
from cloister.receipt.events import Event


def exported(demo, to: Path) -> list[Event]:
    """Return the events of the demo broker, exported and checked as a provider does."""
    (broker,) = {path.parent for path in (demo.home / "demo").rglob("accounts.sqlite")}
    done = demo.command("audit", "export", str(broker), "--out", str(to))
    assert done.returncode == 0, done.stderr
    checked = demo.command("audit", "check", str(to))
    assert checked.returncode == 0, checked.stdout
    found: list[Event] = []
    with to.open("rb") as lines:
        audit.Audit(event=found.append).check(lines)
    to.unlink()
    return found


def test_a_purpose_that_the_contract_does_not_list(demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The analyst's own proxy refuses it first; one that does not meets the enclave, and the log."""
    store = TrustStore(demo.home / "trust")
    assert demo.command("demo", "up").returncode == 0
    store_entry = store.load("demo")

    async def ask() -> None:
        await dial.EnclaveSession.open(store_entry, mode="confidential", purpose="marketing", store=store)

    monkeypatch.setenv("CLOISTER_HOME", str(demo.home))
    with pytest.raises(ContractError, match=r"contract\.purpose"):
        asyncio.run(ask())
    monkeypatch.setattr(dial, "check_purpose", lambda *_: None)
    with pytest.raises(ContractError, match=r"contract\.purpose"):
        asyncio.run(ask())
    until, found = time.monotonic() + 60, []
    while not found and time.monotonic() < until:
        found = [event for event in exported(demo, tmp_path / "demo.audit") if event.op == "open"]
    (event,) = found
    assert (event.kind, event.status, event.actor) == ("refusal", "contract.purpose", store.analyst_key().did)
    assert "marketing" not in str(event)
