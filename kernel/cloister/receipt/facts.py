"""The facts of a release: what a verified receipt says, shaped for reading.

The proxy shows them at the end of a cell and writes them into the output's metadata; the reviewer computes them
again from the receipt and compares. Both run this code, so a shown value that differs by a digit is an edit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import msgspec

from cloister.contract import storage
from cloister.contract.card import Card
from cloister.contract.terms import Budget, Contract
from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.plan import algebra, codec, combine, companions, population
from cloister.plan.gaussian import threshold
from cloister.plan.numbers import rational
from cloister.plan.precision import epsilon_of_rho, rho_of_epsilon
from cloister.plan.shape import LIMITED, Shaped, ShapedMeasure, shape
from cloister.plan.typing import sources
from cloister.receipt import exits
from cloister.receipt.receipt import Receipt
from cloister.wire import canonical

MAX_ROWS = 12

# Far beyond what a vault releases, and small enough to be a float whatever is done with it afterwards.
_RAW = re.compile(r"0|-?[1-9][0-9]{0,35}")
_MAX_SIGMA = 2.0**100


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cell of the keys: its key values, and per measure the value and standard error as text.

    ``unreliable``: the noisy count behind the value is under three standard errors, so it may be noise alone.
    """

    cell: tuple[str, ...]
    values: tuple[str, ...]
    errors: tuple[str, ...]
    unreliable: tuple[bool, ...]


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one account paid: equivalent epsilon at the contract's delta, and the part of the population's budget."""

    population: str
    epsilon: str
    share: str


class ReleaseFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a chip shows of one release.

    ``notes`` say what storage limited or left out (absent where nothing is to be said): values may be biased.
    ``unsaved`` says why a notebook is saved without it, where the contract's pack demands that.
    ``session`` is the one it was shown in; ``rho`` is the price as an exact fraction; ``recalled`` says that it was
    paid earlier and this showing was free; ``rows`` holds at most ``MAX_ROWS`` of the ``cells`` released. An exit has
    no ``costs``.
    """

    release: str
    receipt: str
    charge_id: str
    session: str
    question: str
    keys: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: int
    rho: str
    costs: tuple[Cost, ...]
    assurance: str
    time: str
    recalled: bool = False
    seeded: bool = False
    notes: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    unsaved: storage.Unsaved | msgspec.UnsetType = msgspec.UNSET


def shaped(receipt: Receipt, cards: Mapping[str, Card]) -> Shaped:
    """Return what the raw values of a receipt mean.

    Raises:
        TrustError: ``receipt.shape``: plan, cards, values and noise of the receipt do not fit together.
    """
    if receipt.exits is not None:
        raise TrustError("receipt.shape", "an exit has no values to show")
    try:
        plan = codec.decode(receipt.plan)
        sigmas = [float.fromhex(component.sigma) for component in receipt.noise]
        labels = None if isinstance(receipt.labels, msgspec.UnsetType) else receipt.labels
        raw = _integers(receipt.raw, sigmas)
        if isinstance(plan, algebra.ThresholdKeys):
            _check_threshold(receipt, plan, raw, sigmas[0])
        elif not isinstance(receipt.delta, msgspec.UnsetType):
            raise MalformedError("receipt.delta", "a delta was charged for a release of no keys")
        return shape(plan, cards, raw, sigmas, labels)
    except (CloisterError, ValueError, ArithmeticError) as error:
        reason = error.reason if isinstance(error, CloisterError) else "a raw value or a sigma is no number"
        raise TrustError("receipt.shape", f"the receipt's values do not fit its plan: {reason}") from error


def population_ends(receipt: Receipt, cards: Mapping[str, Card]) -> Iterator[float]:
    """Yield the ends of the population intervals of a receipt's means: post-processing that a notebook may show.

    Raises:
        TrustError: ``receipt.shape``.
    """
    result, plan = shaped(receipt, cards), codec.decode(receipt.plan)
    if isinstance(plan, algebra.VectorSum):
        sigmas = [float.fromhex(component.sigma) for component in receipt.noise]
        raw = _integers(receipt.raw, sigmas)
        for found in population.populations(plan, cards, raw, sigmas, result.measures).values():
            yield from (*found.low, *found.high)


def _check_threshold(receipt: Receipt, plan: algebra.ThresholdKeys, raw: Sequence[int], sigma: float) -> None:
    """Check that only values above the threshold were released: it follows from sigma, rho and delta."""
    delta, rho = rational(plan.delta), Fraction(receipt.noise[0].rho)
    changed = math.floor(2 * Fraction(sigma) ** 2 * rho)
    if receipt.delta != str(delta) or changed < 1 or any(n <= threshold(sigma, delta / changed) for n in raw):
        raise MalformedError("receipt.threshold", "a value of the keys was released that is not above the threshold")


def refined(receipts: Mapping[str, Receipt], cards: Mapping[str, Card]) -> Iterator[tuple[tuple[str, ...], Shaped]]:
    """Yield what refined values rest on and mean: the names of the receipts, and their combined answer.

    Args:
        receipts: Verified receipts by any name.
        cards: The cards of the contract.
    """
    by_analyst: dict[str, dict[str, algebra.Plan]] = {}
    for name, receipt in receipts.items():
        if receipt.exits is not None:
            continue
        by_analyst.setdefault(receipt.analyst, {})[name] = codec.decode(receipt.plan)
    for plans in by_analyst.values():
        for chain in combine.chains(plans):
            answers = []
            for name in chain:
                sigmas = [float.fromhex(component.sigma) for component in receipts[name].noise]
                answers.append(combine.Answered(tuple(_integers(receipts[name].raw, sigmas)), tuple(sigmas)))
            try:
                yield chain, shape(plans[chain[0]], cards, *combine.combine(plans[chain[0]], cards, answers))
            except CloisterError:
                continue  # a question whose answers are no sums


def _integers(raw: Sequence[str], sigmas: Sequence[float]) -> list[int]:
    if not all(map(_RAW.fullmatch, raw)) or any(sigma > _MAX_SIGMA for sigma in sigmas):
        raise MalformedError("receipt.shape", "a raw value or a sigma is no number that a vault releases")
    return [int(text) for text in raw]


def facts(
    receipt: Receipt, contract: Contract, cards: Mapping[str, Card], *, session: str, recalled: bool = False
) -> ReleaseFacts:
    """Return the facts of a verified receipt as shown in ``session``.

    Raises:
        TrustError: ``receipt.shape``.
    """
    if receipt.exits is not None:
        left = _facts(receipt, contract, exits.question(receipt.exits), session=session, recalled=recalled)
        left = msgspec.structs.replace(left, notes=_said(left, ()))
        return msgspec.structs.replace(left, costs=())  # "epsilon 0" would promise what no guarantee covers
    result, plan = shaped(receipt, cards), codec.decode(receipt.plan)
    cells = result.cells()
    measures = [measure for measure in result.measures if measure.kind not in {"gram", *_beside(plan)}]
    shown = cells[:MAX_ROWS] if measures else []
    rows = tuple(_row(labels, index, measures) for index, labels in enumerate(shown))
    found = _facts(receipt, contract, question(plan), session=session, recalled=recalled)
    return msgspec.structs.replace(
        found,
        keys=tuple(key.name for key in result.keys),
        measures=tuple(measure.name for measure in measures),
        rows=rows,
        cells=len(cells),
        notes=_said(found, _notes(receipt, plan, cards, result)),
    )


def _facts(receipt: Receipt, contract: Contract, asked: str, *, session: str, recalled: bool) -> ReleaseFacts:
    """Return the facts of a receipt without its values."""
    return ReleaseFacts(
        release=receipt.release,
        receipt=canonical.digest(receipt),
        charge_id=receipt.charge_id,
        session=session,
        question=asked,
        keys=(),
        measures=(),
        rows=(),
        cells=0,
        rho=receipt.rho,
        costs=tuple(_costs(receipt, contract)),
        assurance=receipt.assurance,
        time=receipt.time,
        recalled=recalled,
        seeded=receipt.seeded,
        unsaved=_unsaved(receipt, contract),
    )


def _said(found: ReleaseFacts, notes: tuple[str, ...]) -> tuple[str, ...] | msgspec.UnsetType:
    if not isinstance(found.unsaved, msgspec.UnsetType):
        notes = (*notes, storage.words(found.unsaved))
    return notes or msgspec.UNSET


def _unsaved(receipt: Receipt, contract: Contract) -> storage.Unsaved | msgspec.UnsetType:
    if receipt.exits is not None and receipt.exits.name == "deliver":
        return msgspec.UNSET  # what a notebook gets of a delivery is a file sealed to its receiver
    tier = None if isinstance(receipt.tier, msgspec.UnsetType) else receipt.tier
    return storage.unsaved(contract, tier) or msgspec.UNSET


def _notes(receipt: Receipt, plan: algebra.Plan, cards: Mapping[str, Card], result: Shaped) -> tuple[str, ...]:
    if isinstance(plan, algebra.ThresholdKeys):
        noise = receipt.noise[0]
        return (companions.left_out(plan, float.fromhex(noise.sigma), Fraction(noise.rho)),)
    return companions.notes(plan, cards, result)


def question(plan: algebra.Plan) -> str:
    """Return a plan in a few words: measures, keys, table, and that rows were selected."""
    nodes: list[algebra.Relation] = [plan.source]
    for node in nodes:
        nodes.extend(sources(node))
    tables = " and ".join(dict.fromkeys(node.name for node in nodes if isinstance(node, algebra.Table)))
    chosen = any(isinstance(node, algebra.Filter) for node in nodes)
    if isinstance(plan, algebra.ThresholdKeys):
        return f"{tables}{' (selected rows)' if chosen else ''}: values of {', '.join(plan.keys)} of many units"
    if isinstance(plan, algebra.Fit):
        return f"{tables}{' (selected rows)' if chosen else ''}: {_fitted(plan)}"
    beside = _beside(plan)
    asked = ", ".join(_measure(measure) for measure in plan.measures if type(measure).__name__.lower() not in beside)
    by = f" by {', '.join(plan.keys)}" if plan.keys else ""
    return f"{tables}{' (selected rows)' if chosen else ''}: {asked}{by}"


def _beside(plan: algebra.Plan) -> frozenset[str]:
    """Return the kinds of measures that are only there for the others: the clipped and capped shares, beside others."""
    asked = any(not isinstance(measure, algebra.Clipped | algebra.Capped) for measure in plan.measures)
    return LIMITED if asked else frozenset()


def show(value: float, error: float) -> tuple[str, str]:
    """Return value and standard error as text, rounded to two digits of the error."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{value:.6g}", f"{error:.2g}"
    digits = min(max(1 - math.floor(math.log10(error)), 0), 12)
    return f"{value:.{digits}f}", f"{error:.{digits}f}"


def _row(labels: tuple[object, ...], index: int, measures: list[ShapedMeasure]) -> Row:
    shown = [show(measure.values[index], measure.stderr[index]) for measure in measures]
    values, errors = (tuple(part) for part in zip(*shown, strict=True))
    return Row(tuple(map(str, labels)), values, errors, tuple(any(m.unreliable[index:][:1]) for m in measures))


def _measure(measure: algebra.Measure) -> str:
    kind = type(measure).__name__.lower()
    match measure:
        case algebra.Gram():
            return f"gram of {len(measure.of)} terms"
        case algebra.Units() | algebra.Capped():
            return kind
        case algebra.Ratio():
            return f"ratio of {_name(measure.of)} over {_name(measure.over)}"
        case algebra.Covariance():
            word = "correlation" if measure.correlation else kind
            return f"{word} of {_name(measure.of[0])} and {_name(measure.of[1])}"
        case algebra.Quantile():
            return f"quantiles {', '.join(measure.at)} of {_name(measure.of)}"
        case algebra.Variance(root=True):
            kind = "standard deviation"
    return f"{kind} of {measure.of.name}" if isinstance(measure.of, algebra.Col) else kind


def _fitted(plan: algebra.Fit) -> str:
    words = {algebra.Logistic: "logistic regression", algebra.Additive: "additive model", algebra.KMeans: "k-means"}
    of = (
        ""
        if plan.target is None
        else f" of {_name(plan.target) if isinstance(plan.target, algebra.Col) else 'a condition'}"
    )
    many = len(plan.features)
    return f"{words[type(plan.learner)]}{of} on {many} feature{'s' if many > 1 else ''}"


def _name(term: algebra.Scalar) -> str:
    return term.name if isinstance(term, algebra.Col) else "a term"


def cost(population: str, rho: Fraction, budget: Budget) -> Cost:
    """Return what ``rho`` means to a population with this budget: equivalent epsilon, and the part of the whole."""
    delta = budget.delta_conversion
    total = rho_of_epsilon(Fraction(budget.epsilon), delta)
    epsilon = epsilon_of_rho(rho, delta)
    return Cost(population, f"{float(epsilon):.3g}", f"{float(100 * rho / total):.2g} %")


def difference(claimed: ReleaseFacts, true: ReleaseFacts) -> str:
    """Say in what two facts of one release differ."""
    if len(claimed.rows) == len(true.rows):
        for row, real in zip(claimed.rows, true.rows, strict=True):
            if row != real:
                return f"shows {', '.join(row.values)}, released was {', '.join(real.values)}"
    names = [name for name in true.__struct_fields__ if getattr(claimed, name) != getattr(true, name)]
    return "differs in " + ", ".join(names)


def _costs(receipt: Receipt, contract: Contract) -> list[Cost]:
    budgets = {budget.population: budget for budget in contract.budgets}
    found = []
    for charge in receipt.charges:
        budget = budgets.get(charge.population)
        if budget is None:
            raise TrustError("receipt.charge", "an account is charged that the contract has no budget for")
        found.append(cost(charge.population, Fraction(charge.rho), budget))
    return found
