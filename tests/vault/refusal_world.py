"""What a broker's log says, read as an auditor reads it: exported, checked, and then asked for its events."""

from __future__ import annotations

from typing import Any

from vault_world import DirectTransport, World

from cloister.plan.link import Context, Request
from cloister.provider import checkpoints
from cloister.provider.broker import Broker
from cloister.provider.home import BrokerHome
from cloister.receipt import audit
from cloister.receipt.events import Event
from cloister.vault.confidential import ConfidentialVault
from cloister.vault.state import VaultState


def exported(home: BrokerHome, broker: Broker) -> list[Event]:
    """Return every event of a broker's export, which has to be sound."""
    broker.journal.flush()
    found: list[Event] = []
    lines = checkpoints.write_export(home, broker.accounts, now=broker.now(), actor="owner")
    report = audit.Audit(event=found.append).check(list(lines))
    assert report.sound, report.to_text()
    return found


def refusals(world: World, state: VaultState, transport: DirectTransport, broker: str = "anna") -> list[Event]:
    """Return what the log of a provider's broker says was refused under a vault's contract."""
    state.refusals.flush()
    home = world.anna_home if broker == "anna" else world.bank_home
    events = exported(home, transport._brokers[home.identity().did])
    kinds = {"refusal", "suppressed"}
    return [event for event in events if event.kind in kinds and event.contract == state.terms.digest]


def ask(state: VaultState, context: Context, document: dict[str, Any], op: str = "release") -> Any:
    """Ask a vault as its link does."""
    return ConfidentialVault(state).operations()[op](context, Request(1, op, document))  # type: ignore[arg-type]
