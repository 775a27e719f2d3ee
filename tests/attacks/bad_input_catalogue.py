"""Bad input: what is fed in, who refuses it, with which code, and where the entry about it is.

``python tests/attacks/bad_input_catalogue.py`` writes the table into ``docs/audit.md``; ``test_bad_input_table.py``
runs every row through the real parts and holds it to what is written here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "audit.md"
BEGIN, END = "<!-- bad input: begin -->\n", "<!-- bad input: end -->\n"

EVENT = "event log of the broker"
VAULT = "log of the vault"
PROXY = "log of the analyst's proxy"
COMMAND = "the command's own exit and message"


class Row(NamedTuple):
    """One input. ``code`` is what its sender, or the notebook, is told; ``entry`` is in the log ``where``.

    ``entry`` of a broker's log is kind, operation and code of the event; what strangers do (vaults that were never
    admitted) is counted there (``suppressed``). ``why`` is the code within the reason of ``evidence.rejected``.
    ``charged`` is how many charges it leaves and ``released`` how many answers: none, but where the host only repeats
    what is paid for.
    """

    key: str
    what: str
    refuser: str
    code: str
    where: str
    entry: str
    charged: int = 0
    released: int = 0
    why: str = ""


def _at_broker(key: str, what: str, why: str) -> Row:
    entry = "suppressed session evidence.rejected"
    return Row(f"broker {key}", f"{what}, for a broker", "broker", "evidence.rejected", EVENT, entry, why=why)


def _at_analyst(key: str, what: str, code: str) -> Row:
    return Row(f"analyst {key}", f"{what}, for an analyst", "analyst's proxy", code, PROXY, f"refused: {code}")


def _tdx(key: str, what: str, why: str) -> Row:
    entry = "suppressed session evidence.rejected"
    what = f"{what} (TDX quote, for a broker)"
    return Row(f"tdx {key}", what, "broker", "evidence.rejected", EVENT, entry, why=why)


def _capsule(key: str, what: str, code: str) -> Row:
    return Row(f"capsule {key}", what, "vault", code, EVENT, f"refusal capsule {code}")


def _start(key: str, what: str, code: str) -> Row:
    return Row(key, what, "vault, at its start", code, VAULT, f"refused to start: {code}")


def _heard(key: str, what: str, code: str, *, charged: int = 0) -> Row:
    return Row(key, what, "vault", code, VAULT, f"refused: {code}", charged)


def _asked(key: str, what: str, code: str, op: str) -> Row:
    return Row(key, what, "broker", code, EVENT, f"refusal {op} {code}")


def _counted(key: str, what: str, code: str) -> Row:
    return Row(key, what, "broker", code, EVENT, f"suppressed session {code}")


def _told(key: str, what: str, code: str) -> Row:
    return Row(key, what, "vault, before any charge", code, EVENT, f"refusal release {code}")


def _registered(key: str, what: str, code: str) -> Row:
    return Row(key, f"{what}, given to a broker", "broker's command", code, COMMAND, code)


ROWS: tuple[Row, ...] = (
    _at_broker("truncated", "Truncated evidence", "evidence.malformed"),
    _at_broker("oversized", "Oversized evidence", "evidence.malformed"),
    _at_broker("spliced", "Spliced evidence: the report of one, the signature of another", "evidence.signature"),
    _at_broker("flipped", "Bit-flipped evidence", "evidence.signature"),
    _at_broker("confused", "Evidence in the name of another TEE", "evidence.format"),
    _at_broker("replayed", "Evidence made for another exchange", "session.hello"),
    _tdx("truncated", "Truncated evidence", "evidence.truncated"),
    _tdx("oversized", "Oversized evidence", "evidence.oversize"),
    _tdx("spliced", "Spliced evidence: signed by a key that its quoting enclave does not vouch for", "evidence.key"),
    _tdx("flipped", "Bit-flipped evidence", "evidence.signature"),
    _tdx("confused", "Evidence that names another algorithm than its format's", "evidence.algorithm"),
    _tdx("stale", "Stale collateral", "crl.expired"),
    _tdx("foreign platform", "Foreign collateral: of another platform", "tcb.fmspc"),
    _tdx("foreign signer", "Foreign collateral: signed by somebody else", "endorsements.signature"),
    _at_analyst("truncated", "Truncated evidence", "evidence.malformed"),
    _at_analyst("oversized", "Oversized evidence", "evidence.malformed"),
    _at_analyst("spliced", "Spliced evidence", "evidence.signature"),
    _at_analyst("flipped", "Bit-flipped evidence", "evidence.signature"),
    _at_analyst("confused", "Evidence in the name of another TEE", "evidence.format"),
    _at_analyst("replayed", "Evidence made for another exchange", "evidence.binding"),
    _capsule("part", "A capsule with swapped parts", "capsule.part"),
    _capsule("manifest", "A capsule with the manifest of another", "capsule.manifest"),
    _start("capsule card", "A capsule with the card of another", "card.missing"),
    _start("contract unsigned", "A contract with a missing signature, given to an enclave", "contract.unsigned"),
    _start("contract forged", "A contract with a wrong signature, given to an enclave", "contract.unsigned"),
    _start("contract self-granted", "A contract that its analyst signed for everybody, given to an enclave",
           "contract.unsigned"),
    _registered("registered unsigned", "A contract with a missing signature", "contract.unsigned"),
    _registered("registered forged", "A contract with a wrong signature", "contract.unsigned"),
    _registered("registered self-granted", "A contract that its analyst signed for everybody", "contract.unsigned"),
    _counted("contract expired", "An expired contract", "contract.inactive"),
    _asked("contract revoked", "A revoked contract", "contract.inactive", "append"),
    _counted("contract unknown", "A contract that everybody signed and no broker has registered", "contract.unknown"),
    _counted("clock of the host", "A host whose clock says that the contract goes on", "contract.inactive"),
    _told("clock of the vault", "A contract that ended while the vault lived on", "contract.expired"),
    _told("purpose", "A question for a purpose that the contract does not list", "contract.purpose"),
    _told("tier", "A question about a column of a tier that needs an approval", "contract.tier"),
    Row("duplicate requests", "Every request to a broker sent twice", "broker: one answer per charge id", "", EVENT,
        "charge", charged=1, released=1),
    Row("replayed session", "A session request sent a second time", "broker", "evidence.rejected", EVENT,
        "refusal session evidence.rejected", why="session.hello"),
    _heard("lost request", "A charge lost on its way", "broker.unavailable"),
    _heard("lost reply", "The answer to a charge lost: paid, and waste until the question is asked again",
           "broker.unavailable", charged=1),
    _heard("reordered", "An earlier answer in the place of the right one", "broker.unexpected", charged=1),
    Row("restart in mid-append", "A broker killed as it has booked and not answered, and started again", "vault",
        "broker.unavailable", EVENT, "charge", charged=1),
    Row("old account file", "An account file put back under its broker", "broker", "ledger.unavailable", EVENT,
        "recover"),
    _asked("clone", "A cloned enclave: the one that is not the latest", "session.fenced", "append"),
    _heard("forged broker", "A forged broker: an answer that the broker did not sign", "broker.forged"),
    _heard("forged hello", "A forged broker: the hello of somebody else", "broker.session"),
)  # fmt: skip


def table() -> str:
    """Return the rows as a Markdown table."""
    lines = ["| input | refused by | code | entry |", "|---|---|---|---|"]
    for row in ROWS:
        left = f" ({row.charged} charge, {row.released or 'no'} answer)" if row.charged else ""
        code = f"`{row.code or 'none'}`" + (f" (`{row.why}`)" if row.why else "")
        lines.append(f"| {row.what} | {row.refuser} | {code} | {row.where}: `{row.entry}`{left} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page ``text`` with the current table."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
