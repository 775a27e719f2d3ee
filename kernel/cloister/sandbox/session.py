"""What this kernel knows about its contract, and the three questions it can ask: budget, price, release.

``describe`` is asked once; contract, cards and limits are fixed for a kernel's life.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from cloister.contract import rights
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.contract.usage import Usage
from cloister.errors import CloisterError, MalformedError
from cloister.plan import algebra, codec, companions
from cloister.plan.combine import Answered
from cloister.plan.layout import Layout, layout
from cloister.plan.reads import reads
from cloister.plan.shape import shape
from cloister.plan.typing import NO_UNIT, Schema, sources, step
from cloister.sandbox import cost, labels, precision
from cloister.sandbox.answer import Answer, Fact, Part
from cloister.sandbox.link import Link
from cloister.sandbox.precision import Account, Charged, Precision

if TYPE_CHECKING:
    from cloister.sandbox.ask import Ask

T = TypeVar("T")
_MOST_SCHEMAS = 1_000


class Peer(Protocol):
    """Anything that answers requests as the link does."""

    def request(self, op: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of one request, or raise the error it was answered with."""
        ...


class Described(msgspec.Struct, frozen=True):
    """The reply to ``describe``."""

    contract: Contract
    contract_digest: str
    mode: str
    assurance: str
    analyst: str
    cards: dict[str, Card]
    budgets: tuple[Account, ...]


class Released(msgspec.Struct, frozen=True):
    """The reply to ``release``."""

    release: str
    plan_digest: str
    charge_id: str
    rho: str
    raw: tuple[str, ...]
    noise: tuple[dict[str, str], ...]
    recalled: bool
    mode: str
    assurance: str
    receipt: dict[str, Any] | None = None
    labels: tuple[tuple[str, ...], ...] | None = None
    charges: tuple[Due, ...] = ()


class Due(msgspec.Struct, frozen=True):
    """What a release charges to an account, or would (rho, an exact fraction)."""

    population: str
    rho: str
    broker: str = ""


class Priced(msgspec.Struct, frozen=True):
    """The reply to ``price``."""

    rho: str
    rho_asked: str
    epsilon: str
    components: tuple[dict[str, str], ...]
    cells: int
    deadline_ms: int
    usage: Usage
    charges: tuple[Due, ...] = ()
    delta: str = "0"
    threshold: int = 0


class Session:
    """One contract as this kernel sees it."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.rehearsed: dict[str, tuple[Due, ...]] = {}
        self.about = _convert(peer.request("describe"), Described)
        self._schemas: dict[algebra.Relation, Schema] = {}

    @property
    def mock(self) -> bool:
        """Whether this is a mock kernel: invented rows, nothing charged."""
        return self.about.mode == "mock"

    def card(self, name: str) -> Card:
        """Return the card of a table, by its full name or its short one where that is clear.

        Raises:
            PlanError: The contract has no such table.
        """
        cards = self.about.cards
        short = [full for full in cards if full.rpartition(".")[2] == name]
        if name in cards or len(short) == 1:
            return cards[name if name in cards else short[0]]
        from cloister.sandbox import refuse  # noqa: PLC0415 (only on a mistake)

        raise refuse.unknown_table(name, list(cards))

    def account(self, card: Card) -> Account:
        """Return the budget that questions about a table are charged to.

        Raises:
            MalformedError: The vault described a table without a budget.
        """
        broker = next((table.broker for table in self.about.contract.tables if table.name == card.name), "")
        for account in self.about.budgets:
            if account.population == card.population and account.broker == broker:
                return account
        raise MalformedError("link.budget", f"the vault named no budget for {card.population}")

    def accounts(self, tables: Iterable[str]) -> tuple[Account, ...]:
        """Return the budgets that a question about several tables is charged to; a reference table has none."""
        cards = [self.about.cards[name] for name in tables]
        return tuple(dict.fromkeys(self.account(card) for card in cards if card.unit != NO_UNIT))

    def tightest(self, tables: Iterable[str]) -> Account:
        """Return the smallest of these budgets: shares are of it, and each of them is charged."""
        return min(self.accounts(tables), key=lambda account: account.mine)

    def charged(self, charges: Iterable[Due]) -> tuple[Charged, ...]:
        """Return what each account pays: rho, the epsilon that is worth there, and the share of the analyst's total.

        Raises:
            MalformedError: The vault named an account or an amount that is none.
        """
        try:
            return tuple(self._account(due).charged(Fraction(due.rho)) for due in charges)
        except (ValueError, ArithmeticError) as error:
            raise _wrong_reply() from error

    def delta(self, paid: Charged) -> str:
        """Return the delta at which an account's contract states its budget."""
        return self._account(Due(paid.population, str(paid.rho), paid.broker)).delta

    def _account(self, due: Due) -> Account:
        for account in self.about.budgets:
            if account.population == due.population and due.broker in {"", account.broker}:
                return account
        raise MalformedError("link.budget", f"the vault named no budget for {due.population}")

    def schema(self, relation: algebra.Relation) -> Schema:
        """Return the type of a relation under the contract's cards.

        Raises:
            PlanError: It has none.
        """
        if relation not in self._schemas:
            if len(self._schemas) >= _MOST_SCHEMAS:
                self._schemas.clear()
            # Sources are mostly known: a chain of alignments is typed once, not once more with every step.
            parts = [self.schema(source) for source in sources(relation)]
            self._schemas[relation] = step(relation, *parts, cards=self.about.cards)
        return self._schemas[relation]

    def budget(self) -> dict[str, Any]:
        """Return every limit of the contract with what is spent of it, as the brokers state it."""
        return self._peer.request("budget")

    def exit(self, op: Literal["price", "release"], plan: algebra.Exit) -> dict[str, Any]:
        """Ask the vault about an exit, or for it; what comes back is as ``vault/describe_exits.py`` says.

        Raises:
            CloisterError: Any refusal.
            MalformedError: The reply is of something else.
        """
        reply = self._peer.request(op, msgspec.to_builtins(plan))
        if reply.get("exit") != codec.exit_name(plan):
            raise _wrong_reply()
        return reply

    def price(self, ask: Ask[Any], wish: Precision) -> cost.Cost:
        """Return what a question would cost; free."""
        rows = cost.check_n(wish.n)
        return self.price_plan(ask, self.plan_of(ask, wish), rows)

    def price_plan(self, ask: Ask[Any], plan: algebra.Plan, rows: float | None = None) -> cost.Cost:
        """Return what a plan of a question would cost; errors of means are stated for ``rows`` rows in each cell."""
        priced = self._priced(plan)
        shape_of = layout(ask.as_asked(plan), self.about.cards)
        accounts = self.charged(priced.charges)
        return cost.Cost(
            rho=Fraction(priced.rho),
            epsilon=max(account.epsilon for account in accounts),
            share=max(account.share for account in accounts),
            accounts=accounts,
            errors=_shown(shape_of, priced, ask, rows),
            n=(rows or cost.WITHOUT_N) if cost.needs_n(shape_of) else None,
            cells=priced.cells,
            deadline_ms=priced.deadline_ms,
            usage=priced.usage,
            mode=self.about.mode,
            delta=Fraction(priced.delta),
            threshold=priced.threshold,
            layout=shape_of,
            stderrs=tuple(_floats(priced, "stderr")),
            sigmas=tuple(_floats(priced, "sigma")),
        )

    def release(self, ask: Ask[Any], wish: Precision) -> Answer:
        """Ask the vault and shape what it released.

        Raises:
            CloisterError: Any refusal; nothing was charged unless the error says so.
            MalformedError: The reply does not fit the plan.
        """
        return self.ask_plan(ask, self.plan_of(ask, wish))

    def plan_of(self, ask: Ask[Any], wish: Precision) -> algebra.Plan:
        """Return the plan of a question at the precision wished."""
        return self._plan(ask, self.tightest(ask.rows.tables), wish)

    def ask_plan(self, ask: Ask[Any], plan: algebra.Plan) -> Answer:
        """Ask the vault one plan of a question, and shape what it released; see ``release``."""
        found = _convert(self._peer.request("release", codec.encode(plan)), Released)
        try:
            raw = [int(value) for value in found.raw]
            sigmas = [float.fromhex(noise["sigma"]) for noise in found.noise]
            rho = Fraction(found.rho)
        except (ValueError, KeyError, ArithmeticError) as error:
            raise _wrong_reply() from error
        shown = ask.as_asked(plan)
        shaped = shape(shown, self.about.cards, raw, sigmas, found.labels)
        accounts = self.charged(found.charges)
        fact = Fact(
            release=found.release,
            plan=plan,
            plan_digest=found.plan_digest,
            charge_id=found.charge_id,
            rho=rho,
            epsilon=max(account.epsilon for account in accounts),
            share=max(account.share for account in accounts),
            accounts=accounts,
            rights=rights.of_release(*reads(plan, self.about.cards), self.about.cards, self.about.contract),
            recalled=found.recalled,
            mode=found.mode,
            assurance=found.assurance,
            receipt=found.receipt,
            units=labels.units(shown.measures, ask.rows, self.about.cards),
            parts=(Part(plan, Answered(tuple(raw), tuple(sigmas)), found.receipt),),
            ask=ask,
            notes=companions.notes(shown, self.about.cards, shaped),
        )
        if self.mock:
            self.rehearsed[found.release] = found.charges
        held = layout(shown, self.about.cards)
        return Answer(
            shaped, held, fact, tuple(ask.keys.items()), tuple(raw), tuple(sigmas), self.about.cards, plan=shown
        )

    def _plan(self, ask: Ask[Any], account: Account, wish: Precision) -> algebra.Plan:
        def reach_at(rho: Fraction) -> precision.Reach:
            plan = ask.plan(precision.text(rho))
            found = layout(ask.as_asked(plan), self.about.cards)
            if isinstance(plan, algebra.Fit):
                raise no_width()
            if any(measure.kind == "quantile" for measure in found.measures):
                raise rank_only()
            if cost.needs_n(found) and wish.n is None:
                raise refuse_within(self._count_price(ask, account))
            priced = self._priced(plan)
            return cost.reach(found, rho, _floats(priced, "sigma"), _shown(found, priced, ask, cost.check_n(wish.n)))

        plan = ask.plan(precision.text(wish.rho(account, reach_at)))
        # The vault checks again; here a mistake is explained before anything travels.
        codec.decode(codec.encode(plan))
        layout(plan, self.about.cards)
        return plan

    def _count_price(self, ask: Ask[Any], account: Account) -> str:
        """Return what it would cost to know how many rows there are, in words."""
        rho = Fraction(account.default_rho)
        counted = dataclasses.replace(ask, measures=(algebra.Count("n"),))
        plan = counted.plan(precision.text(rho))
        found = layout(counted.as_asked(plan), self.about.cards)
        error = cost.expected_errors(found, _floats(self._priced(plan), "stderr"), None)["n"]
        return f"{100 * account.share_of(rho):.2g} % of your budget for a count to within {1.96 * error:.3g} rows"

    def _priced(self, plan: algebra.Plan) -> Priced:
        return _convert(self._peer.request("price", codec.encode(plan)), Priced)


def no_width() -> CloisterError:
    """Return the refusal of ``within=`` for a model."""
    from cloister.errors import PlanError  # noqa: PLC0415 (only on a mistake)

    return PlanError(
        "api.within",
        "how far the noise moves a model depends on the data",
        nearest=("LogisticRegression(epsilon=1)", "LogisticRegression(share=0.05)"),
    )


def rank_only() -> CloisterError:
    """Return the refusal of ``within=`` for a quantile."""
    from cloister.errors import PlanError  # noqa: PLC0415 (only on a mistake)

    return PlanError(
        "api.within",
        "the noise of a quantile is one of rank: what that means in its unit depends on the data",
        nearest=("visits.bmi.median(epsilon=0.1)", "visits.bmi.quantile([0.25, 0.5, 0.75], share=0.05)"),
    )


def refuse_within(price: str) -> CloisterError:
    """Return the refusal of ``within=`` for a ratio over unknown many rows; ``price`` is what a count would cost."""
    from cloister.errors import PlanError  # noqa: PLC0415 (only on a mistake)

    return PlanError(
        "api.within",
        "how precise a mean, ratio or variance is depends on how many rows there are, and that is not public",
        next_step=f"say n=, the rows you expect or a count you have released; releasing one costs {price}",
        nearest=("visits.bmi.mean(within=0.1, n=20_000)", "visits.bmi.mean(within=0.1, n=visits.bmi.count())"),
    )


_lock = threading.Lock()
_current: list[Session] = []


def current() -> Session:
    """Return this kernel's session, connecting on first use.

    Raises:
        CloisterError: This is not a Cloister kernel, or the vault refused.
    """
    with _lock:
        if not _current:
            _current.append(Session(Link.from_environment()))
        return _current[0]


def use(session: Session | None) -> None:
    """Make ``session`` the one ``cl.table`` and friends speak of (``None``: connect again on next use)."""
    with _lock:
        _current[:] = [] if session is None else [session]


def _convert(value: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _wrong_reply() from error


def _shown(found: Layout, priced: Priced, ask: Ask[Any], rows: float | None) -> dict[str, float]:
    """Return the expected standard errors of what a question shows."""
    errors = cost.expected_errors(found, _floats(priced, "stderr"), rows)
    return cost.shown_errors(errors, ask.shown, rows or cost.WITHOUT_N)


def _floats(priced: Priced, name: str) -> list[float]:
    try:
        return [float.fromhex(part[name]) for part in priced.components]
    except (ValueError, KeyError) as error:
        raise _wrong_reply() from error


def _wrong_reply() -> MalformedError:
    return MalformedError(
        "link.reply",
        "the vault's reply does not fit the question",
        next_step="restart the kernel; report it if it stays",
    )
