"""Every error Cloister raises, as one tree.

    CloisterError
    +-- RefusedError         the gate or a policy says no (a decision, not a defect)
    |   +-- BudgetError      the account, a sub-limit or another limit of the contract is exhausted
    |   +-- ContractError    contract, purpose, tier, validity or signer do not allow it
    |   +-- PlanError        the plan cannot be released as written; ``nearest`` names what can
    +-- TrustError           evidence, appraisal, channel or trust store: the peer is not who it must be
    |   +-- SignatureError   a signature is missing or wrong
    +-- MalformedError       bytes that do not follow their schema
    +-- UnavailableError     a peer or a file cannot be reached; trying again may help
    +-- FaultError           something failed after the charge; constant text, by design (G3)

Every error carries a stable ``code`` (``area.reason``), the reason in words, the clause it rests on, the next
step and, for plans, the nearest allowed form. None carries data.
"""

from __future__ import annotations

import linecache
from typing import Any


class CloisterError(Exception):
    """Root of all Cloister errors: code, reason, clause, next step, nearest allowed form."""

    kind = "error"
    advice = "read the reason and try again; docs/ explains every room"
    """The next step of errors that name none of their own."""

    def __init__(
        self, code: str, reason: str, *, clause: str = "", next_step: str = "", nearest: tuple[str, ...] = ()
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.clause = clause
        self.next_step = next_step or ("use one of the nearest forms" if nearest else self.advice)
        self.nearest = tuple(nearest)

    def __str__(self) -> str:
        lines = [f"[{self.code}] {self.reason}"]
        if self.clause:
            lines.append(f"  clause: {self.clause}")
        lines.extend(f"  nearest: {form}" for form in self.nearest)
        if self.next_step:
            lines.append(f"  next step: {self.next_step}")
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the decision and the analyst's own line, without a stack of our frames."""
        return [f"{type(self).__name__}: {self}", *own_line(self)]

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form of the error (all fields are strings)."""
        return {
            "kind": self.kind,
            "code": self.code,
            "reason": self.reason,
            "clause": self.clause,
            "next_step": self.next_step,
            "nearest": list(self.nearest),
        }


def own_line(error: BaseException) -> list[str]:
    """Return the line of the notebook in which ``error`` was raised, as one line of text, or nothing."""
    where: list[str] = []
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_globals.get("__name__") == "__main__":
            source = linecache.getline(step.tb_frame.f_code.co_filename, step.tb_lineno).strip()
            # A cell magic's own lines are in the error; what IPython made of them says nothing.
            written = source and not source.startswith("get_ipython().run_cell_magic(")
            where = [f"  line {step.tb_lineno}: {source}"] if written else where
        step = step.tb_next
    return where


class RefusedError(CloisterError):
    """A decision taken from plan, card, contract and ledger only."""

    kind = "refused"
    advice = "ask for something the contract allows: cl.contract() and cl.tables() say what"


class BudgetError(RefusedError):
    """A limit of the contract is exhausted or would be exceeded."""

    kind = "budget"
    advice = "ask for a smaller share, or the data provider for a new contract"


class ContractError(RefusedError):
    """The contract does not allow this, is not signed, or is not valid now."""

    kind = "contract"
    advice = "ask the parties for a contract that everybody signed and that is valid now"


class PlanError(RefusedError):
    """The plan cannot be released as written."""

    kind = "plan"
    advice = "docs/analyst-api.md lists what works; cl.tables() lists tables and columns"


class TrustError(CloisterError):
    """A peer could not prove what it must be."""

    kind = "trust"
    advice = "do not use it; ask whoever runs it for the original, or connect again"


class SignatureError(TrustError):
    """A signature is missing or wrong."""

    kind = "signature"
    advice = "do not use it; ask its signer for the original document"


class MalformedError(CloisterError):
    """Bytes or values that do not follow their schema."""

    kind = "malformed"
    advice = "ask its author for the document again; nothing was done with this one"


class UnavailableError(CloisterError):
    """A peer or resource cannot be reached."""

    kind = "unavailable"
    advice = "try again; what was charged already is not charged a second time"


class FaultError(CloisterError):
    """A failure after the charge. Its text is constant: what failed may depend on data."""

    kind = "fault"
    advice = "run the cell again: a paid plan runs again at no charge"


_KINDS: dict[str, type[CloisterError]] = {
    cls.kind: cls
    for cls in (
        CloisterError, RefusedError, BudgetError, ContractError, PlanError, TrustError, SignatureError,
        MalformedError, UnavailableError, FaultError,
    )
}  # fmt: skip


def from_dict(data: dict[str, Any]) -> CloisterError:
    """Rebuild an error from its wire form; unknown kinds become the root class."""
    cls = _KINDS.get(str(data.get("kind")), CloisterError)
    return cls(
        str(data.get("code", "error.unknown")),
        str(data.get("reason", "")),
        clause=str(data.get("clause", "")),
        next_step=str(data.get("next_step", "")),
        nearest=tuple(str(form) for form in data.get("nearest", ())),
    )


EXTRA = "pip install 'cloister[{}]'"


def missing_extra(module: str) -> RefusedError:
    """Return the error of a command that needs ``module``, which an extra of the package installs."""
    return RefusedError(
        "install.extra",
        f"this needs {module}, which the base installation leaves out",
        next_step=EXTRA.format("all") + "; `cloister doctor` says what is missing",
    )
