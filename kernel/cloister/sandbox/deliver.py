"""``frame.deliver``: scores of every unit, sealed to a receiver. Outside the formal guarantee, and never readable here.

What may be delivered is what every provider signed: ``frame.deliver.proposal(...)`` gives the plan and its digest for a
clause of a contract; ``.cost(...)`` says what a delivery uses; a call delivers.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from cloister.contract.usage import Usage
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.typing import scalar
from cloister.receipt import delivery
from cloister.receipt.exits import OUTSIDE
from cloister.sandbox import html, literals, rows
from cloister.sandbox.ask import checked
from cloister.sandbox.column import Column

if TYPE_CHECKING:
    from cloister.sandbox.frame import Frame
    from cloister.sandbox.session import Session

MOCK = "MOCK: invented scores, nothing charged, no receipt"
_FORMS = ('customers.deliver(customers.score, step=0.01, receiver="bureau")',)


class Deliver:
    """Deliver one rounded score per unit: ``frame.deliver(score, step=0.01, receiver="bureau")``."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    @checked("deliver")
    def __call__(self, score: Any, *, step: Any, receiver: str | None = None) -> Delivered:
        """Deliver the scores of every unit of the rows.

        Args:
            score: A column (also a model's prediction), or the name of one; it must have bounds.
            step: Scores are rounded to the nearest multiple of it, ties to even; at most 1,001 values remain.
            receiver: A receiver of the contract; may be left out where there is only one.

        Raises:
            CloisterError: The providers did not approve exactly this, or it cannot be delivered as written.
        """
        plan, session = self._plan(score, step, receiver)
        reply = session.exit("release", plan)
        file = delivery.to_file({name: reply.get(name) for name in ("header", "content", "receipt", "admissions")})
        return Delivered(plan, file, delivery.read_delivery(file), str(reply["salt"]), bool(reply["recalled"]))

    @checked("deliver.cost")
    def cost(self, score: Any, *, step: Any, receiver: str | None = None) -> DeliveryCost:
        """Return what the delivery would use; free."""
        plan, session = self._plan(score, step, receiver)
        reply = session.exit("price", plan)
        return DeliveryCost(msgspec.convert(reply["usage"], Usage), int(reply["deadline_ms"]), session.about.mode)

    @checked("deliver.proposal")
    def proposal(self, score: Any, *, step: Any, receiver: str | None = None) -> Proposal:
        """Return the plan and its digest: what the providers put into a clause of a new contract. Free."""
        return Proposal(self._plan(score, step, receiver)[0])

    def _plan(self, score: Any, step: Any, receiver: str | None) -> tuple[a.Deliver, Session]:
        frame = self._frame
        column = frame._column(frame._need(score)) if isinstance(score, str) else score
        if not isinstance(column, Column):
            raise PlanError("api.deliver", "a score is a column of the rows, or its name", nearest=_FORMS)
        found = rows.within(frame._rows, column._rows)
        session = found.session
        source, _ = found.asked({}, column._term.scalar)
        name = receiver if receiver is not None else _only_receiver(session)
        plan = a.Deliver(source, column._term.scalar, literals.number_text(step), name)
        # The vault checks again; here a mistake is explained before anything travels.
        codec.decode_exit(codec.canonical_exit(plan))
        grid = scalar(a.Round(plan.score, plan.step, "even"), session.schema(source))
        delivery.check_scores(session.schema(source).rows, grid.points, session.schema(source).limit)
        return plan, session

    def __repr__(self) -> str:
        return f"<deliver: call it with score, step= and receiver=; {OUTSIDE}>"


@dataclasses.dataclass(frozen=True)
class DeliveryCost:
    """What a delivery uses: no privacy budget, because nothing in that budget covers it."""

    usage: Usage
    deadline_ms: int
    mode: str

    def __repr__(self) -> str:
        mock = f"\n{MOCK}" if self.mode == "mock" else ""
        return (
            f"no privacy budget: a delivery is {OUTSIDE}\n"
            f"uses {self.usage.rows:,} rows scanned, {self.usage.compute / 10:,.1f} s of computing (planned), "
            f"one delivery of its clause{mock}"
        )


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A plan to be approved: every provider puts ``digest`` into a clause and signs the contract."""

    plan: a.Deliver

    @property
    def digest(self) -> str:
        """The digest a clause ``exits.deliveries`` names."""
        return codec.exit_digest(self.plan)

    def to_json(self, path: str | Path) -> None:
        """Write the plan, as it is digested, for the providers to read."""
        Path(path).write_bytes(codec.canonical_exit(self.plan))

    def __repr__(self) -> str:
        return f"proposal to deliver to {self.plan.receiver}, {OUTSIDE}\n  plan {self.digest}"


@dataclasses.dataclass(frozen=True)
class Delivered:
    """A sealed delivery. Only the receiver can open it; ``save`` writes the file to send on.

    ``salt`` and ``plan`` open the commitment in the receipt, for whoever shall be shown what was delivered.
    """

    plan: a.Deliver
    file: bytes
    delivery: delivery.Delivery
    salt: str
    recalled: bool

    @property
    def mock(self) -> bool:
        """Whether the scores are invented."""
        return self.delivery.header.mode == "mock"

    def save(self, path: str | Path) -> Path:
        """Write the sealed file and return where; ``%cloister get`` brings it beside the notebook."""
        target = Path(path)
        target.write_bytes(self.file)
        return target

    def _lines(self) -> list[str]:
        header = self.delivery.header
        paid = "recalled: not counted again" if self.recalled else "counted once; the same again is free"
        return [
            f"delivered: scores sealed to {header.receiver}, {OUTSIDE}",
            f"{len(self.file):,} bytes for up to {header.capacity:,} units; nobody but the receiver can open it",
            MOCK if self.mock else paid,
        ]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        head, *rest = self._lines()
        return html.block(
            html.paragraph(html.strong(head), html.mark(self.delivery.header.mode, "")), *map(html.note, rest)
        )

    def __reduce__(self) -> NoReturn:
        raise PlanError(
            "api.deliver", "a delivery is saved, not pickled", nearest=('delivered.save("scores.delivery")',)
        )


def _only_receiver(session: Session) -> str:
    receivers = [receiver.name for receiver in session.about.contract.outside.receivers]
    if len(receivers) != 1:
        raise PlanError(
            "api.receiver",
            f"the contract names {len(receivers) or 'no'} receivers",
            clause="exits.receivers",
            next_step="say receiver=",
            nearest=tuple(receivers),
        )
    return receivers[0]
