"""Put the receipts a notebook rests on into the notebook, from this user's store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloister.analyst.receipts import StoredSession, load_session
from cloister.analyst.trust import TrustStore
from cloister.attest import releases
from cloister.contract import signing
from cloister.errors import RefusedError
from cloister.receipt import chain
from cloister.receipt.bundle import bundle
from cloister.receipt.chip import METADATA_KEY
from cloister.wire import canonical
from cloister.wire.envelope import Envelope


def chips(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the facts of every release chip, in the order shown."""
    for cell in _dicts(notebook.get("cells")):
        for output in _dicts(cell.get("outputs")):
            metadata = output.get("metadata")
            place = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
            if isinstance(place, dict):
                yield from _dicts(place.get("releases"))


def bundle_notebook(notebook: dict[str, Any], store: Path, trust: TrustStore | None = None) -> dict[str, Any]:
    """Return ``notebook`` with contract, cards, admissions, evidence and receipts of the sessions it shows.

    If the contract has a clause about the software, the signed releases of it that this person keeps (``trust``) go
    in as well, as far as they list code that was admitted.

    Raises:
        RefusedError: ``bundle.nothing``: it shows no release; ``bundle.contracts``: it shows releases of several
            contracts; ``receipt.unknown``: a session is not in this store.
        MalformedError: The store was altered, or the bundle would be too large.
    """
    names = list(dict.fromkeys(str(item.get("session", "")) for item in chips(notebook)))
    if not names:
        raise RefusedError(
            "bundle.nothing", "the notebook shows no release", next_step="run it in a Cloister kernel first"
        )
    sessions = [load_session(store, name) for name in names]
    contracts = {canonical.digest(session.contract): session.contract for session in sessions}
    if len(contracts) > 1:
        raise RefusedError(
            "bundle.contracts",
            "the notebook shows releases of several contracts",
            next_step="run it anew in one kernel",
        )
    return bundle(
        notebook,
        contract=sessions[0].contract,
        cards=_all(sessions, "cards"),
        admissions=_all(sessions, "admissions"),
        evidence=_all(sessions, "evidence"),
        receipts=[kept.receipt for session in sessions for kept in session.receipts],
        software=_listing(sessions, TrustStore() if trust is None else trust),
    )


def _listing(sessions: list[StoredSession], trust: TrustStore) -> Iterator[Envelope]:
    contract = signing.read_unverified(sessions[0].contract)
    if contract.signed_software is None:
        return
    digest = signing.contract_digest(sessions[0].contract)
    admitted = {chain.open_admission(one, contract, digest).env_digest for one in _all(sessions, "admissions")}
    yield from (document for document in trust.releases() if releases.lists(document, admitted))


def _all(sessions: list[StoredSession], name: str) -> list[Any]:
    return [item for session in sessions for item in getattr(session, name)]


def _dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects in what should be a list of them: a notebook is anybody's file."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
