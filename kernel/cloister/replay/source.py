"""Which notebook is replayed, and whether its bundle may be believed.

``CLOISTER_REPLAY`` (a path) decides; else ``JPY_SESSION_NAME``, in which a Jupyter server names the notebook a kernel
is for; else the notebooks of the kernel's folder, if the bundles among them are of one contract. A bundle is used only
if it verifies on its own: contract, cards, admissions, evidence, receipts and accounts. What the cells show may differ
from it: that is what a replay finds out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from cloister.contract import signing
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, MalformedError, RefusedError, TrustError
from cloister.receipt.bundle import Bundle, read_bundle
from cloister.receipt.facts import ReleaseFacts
from cloister.receipt.receipt import Receipt
from cloister.reviewer.notebook import chips
from cloister.reviewer.report import Report
from cloister.reviewer.verify import Examined, examine
from cloister.wire import canonical

CHOSEN = "CLOISTER_REPLAY"
SESSION_NAME = "JPY_SESSION_NAME"
MAX_NOTEBOOK = 64 * 2**20
MAX_FOLDER = 200
# The steps of a verification that speak of the bundle alone (reviewer/report.py); the others are about the cells.
_BUNDLE_STEPS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 11})
_T = TypeVar("_T", bound=msgspec.Struct)
_VERIFY = "`cloister verify NOTEBOOK` shows every line; ask its author for the original"


class Source(NamedTuple):
    """What verified in one or several bundles of one contract: documents, receipts by digest, chips as shown."""

    names: tuple[str, ...]
    bundle: Bundle
    contract: Contract
    cards: dict[str, Card]
    receipts: dict[str, Receipt]
    chips: tuple[ReleaseFacts, ...]


def find(environ: Mapping[str, str], folder: Path) -> tuple[Path, ...]:
    """Return the notebooks whose receipts answer.

    Raises:
        RefusedError: ``replay.nothing``: none with a bundle; ``replay.which``: bundles of several contracts.
        MalformedError: ``replay.notebook``: the chosen one cannot be read.
    """
    if chosen := environ.get(CHOSEN, ""):
        return (folder / Path(chosen).expanduser(),)
    named = folder / environ.get(SESSION_NAME, "")
    if named.suffix == ".ipynb" and _contract_of(named):
        return (named,)
    by_contract: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.ipynb"))[:MAX_FOLDER]:
        if digest := _contract_of(path):
            by_contract.setdefault(digest, []).append(path)
    if not by_contract:
        raise RefusedError(
            "replay.nothing",
            f"there is no notebook with receipts in {folder}",
            next_step=f"set {CHOSEN} to a notebook after `cloister bundle NOTEBOOK`, and restart the kernel",
        )
    if len(by_contract) > 1:
        raise RefusedError(
            "replay.which",
            "the notebooks of this folder carry receipts of several contracts",
            next_step=f"set {CHOSEN} to one of them and restart the kernel",
            nearest=tuple(f"{CHOSEN}={paths[0].name}" for paths in by_contract.values()),
        )
    return tuple(next(iter(by_contract.values())))


def load(paths: tuple[Path, ...]) -> Source:
    """Return the receipts of notebooks whose bundles verify.

    Raises:
        TrustError: ``replay.bundle``: one does not; the reason is the failing line.
        MalformedError: ``replay.notebook``: one is no notebook.
    """
    return joined([(path.name, examine(read(path))) for path in paths])


def joined(found: list[tuple[str, Examined]]) -> Source:
    """Return what verified in several notebooks as one source; the first one's documents lead.

    Raises:
        TrustError: ``replay.bundle``: a bundle does not verify.
    """
    receipts: dict[str, Receipt] = {}
    shown: list[ReleaseFacts] = []
    sources: list[tuple[str, Bundle, Contract, dict[str, Card]]] = []
    for name, examined in found:
        _check(name, examined.report)
        if examined.bundle is None or examined.contract is None or not examined.receipts:
            raise _unusable(name, "it holds no receipt that verifies")
        sources.append((name, examined.bundle, examined.contract, examined.cards))
        receipts |= examined.receipts
        shown += [facts for cell in examined.cells for chip in chips(cell) for facts in chip.releases or ()]
    names, bundles, contracts, cards = zip(*sources, strict=True)
    documents = _merged(bundles)
    return Source(names, documents, contracts[0], cards[0], receipts, tuple(shown))


def read(path: Path) -> dict[str, Any]:
    """Return a notebook file as JSON; nothing in it is believed.

    Raises:
        MalformedError: ``replay.notebook``.
    """
    try:
        # A pipe would keep us waiting, and a device has no end and the size 0.
        if not path.is_file():
            raise MalformedError("replay.notebook", f"{path} is no file", next_step="check the path")
        with path.open("rb") as file:
            raw = file.read(MAX_NOTEBOOK + 1)
        if len(raw) > MAX_NOTEBOOK:
            raise MalformedError("replay.notebook", f"{path} is larger than {MAX_NOTEBOOK >> 20} MiB")
        content = json.loads(raw)
    except (OSError, ValueError, RecursionError) as error:
        raise MalformedError(
            "replay.notebook", f"{path} is not a readable notebook", next_step="check the path"
        ) from error
    if not isinstance(content, dict):
        raise MalformedError("replay.notebook", f"{path} is not a notebook", next_step="check the path")
    return content


def _contract_of(path: Path) -> str:
    """Return which contract a notebook's bundle names, or "" if it carries none; nothing is checked."""
    try:
        return signing.contract_digest(read_bundle(read(path)).contract) if path.is_file() else ""
    except CloisterError:
        return ""


def _check(name: str, report: Report) -> None:
    for finding in report.findings:
        if finding.level == "fail" and finding.step in _BUNDLE_STEPS:
            raise _unusable(name, f"step {finding.step}: {finding.text} ({finding.code})")


def _unusable(name: str, reason: str) -> TrustError:
    return TrustError("replay.bundle", f"the receipts of {name} do not verify: {reason}", next_step=_VERIFY)


def _merged(bundles: tuple[Bundle, ...]) -> Bundle:
    """Return everything that the bundles of one contract rest on, each document once."""
    return Bundle(
        contract=bundles[0].contract,
        cards=bundles[0].cards,  # those that the contract pins, in each of them
        admissions=_once(item for one in bundles for item in one.admissions),
        evidence=_once(item for one in bundles for item in one.evidence),
        receipts=_once(item for one in bundles for item in one.receipts),
        proofs=_once(item for one in bundles for item in one.proofs),
        software=_once(item for one in bundles for item in one.releases) or msgspec.UNSET,
    )


def _once(documents: Iterable[_T]) -> tuple[_T, ...]:
    return tuple({canonical.digest(one): one for one in documents}.values())
