"""``CategoricalNB``: naive Bayes of categories, from noisy counts per class and level.

    model = CategoricalNB(epsilon=1).fit(visits[["region", "sex"]], visits.smoker)

One release: every row is counted once per feature, in the cell of its class and level. The counts are one vector, to
which a row adds 1 in as many places as there are features: the noise of each count is sqrt(features) times that of a
single count at this price, however many levels and classes there are. In the plan the rows stand once for each feature
under each other (``Stack``), and one count by class, feature and level is asked.
"""

from __future__ import annotations

import dataclasses
import math
import numbers as python_numbers
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import literals, terms
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.doubts import checked
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import expected, numbers, origin, remarks, targets
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.classifier import Classifier
from cloister.sandbox.learn.columns import sums
from cloister.sandbox.learn.document import number
from cloister.sandbox.learn.gaussian import OF_ALL, SURE
from cloister.sandbox.learn.rounding import near
from cloister.sandbox.precision import Precision
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

MAX_FEATURES = 64
MAX_LEVELS = 1_000
MISSING = "(missing)"


class CategoricalNB(Classifier[k.CategoricalNB]):
    """Naive Bayes of categories, cuts and conditions, for a condition or category.

    Args:
        alpha: Rows added to every level of every class (Laplace smoothing).
        epsilon: Privacy price of the fit; or
        share: the price as a share of your total. With neither, the contract's default share.
        missing: ``"refuse"`` features that may be missing, ``"drop"`` such rows, or count them as a level of their own
            (``"indicator"``).

    Attributes:
        classes_: The labels of the target.
        feature_log_prob_: Logarithms of the probability of each level, one array per feature, classes by levels.
        class_log_prior_: Logarithms of the probabilities of the classes.
        class_count_: Noisy numbers of rows; ``class_count_stderr_`` is the noise in each.
    """

    kinds: ClassVar[tuple[type[k.Head], ...]] = (k.CategoricalNB,)
    form: ClassVar[str] = 'CategoricalNB(epsilon=1).fit(visits[["region", "sex"]], visits.smoker)'

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        epsilon: float | None = None,
        share: float | None = None,
        missing: enc.Missing = "refuse",
    ) -> None:
        self.alpha = alpha
        self.epsilon = epsilon
        self.share = share
        self.missing = missing

    def fit(self, X: Frame, y: Column) -> Self:  # noqa: N803 (scikit-learn's names)
        """Release the counts per class and level of every feature, and compute the model from them.

        Raises:
            PlanError: Not handles, of different rows, or columns a model cannot use. Nothing was charged.
        """
        self._document, self._fact = self._ask(X, y).release(Precision(self.epsilon, self.share))
        return self

    def cost(self, X: Frame, y: Column, *, epsilon: Any = None, share: Any = None) -> Cost:  # noqa: N803
        """Return what fitting would cost, and the noise in every count; nothing is spent."""
        own = epsilon is None and share is None
        found = self._ask(X, y).cost(Precision(self.epsilon, self.share) if own else Precision(epsilon, share))
        return dataclasses.replace(found, errors={"every count": max(found.errors.values())})

    # What was found ------------------------------------------------------------------------------------

    @property
    def feature_log_prob_(self) -> list[np.ndarray]:
        """Logarithms of the probability of each level: one array per feature, classes by levels."""
        whole = np.array([numbers.weights(output.weights) for output in self._fitted.outputs])
        found, start = [], 0
        for feature in self._fitted.features:
            width = sum(1 for _ in enc.columns((feature,)))
            found.append(whole[:, start : start + width])
            start += width
        return found

    @property
    def class_log_prior_(self) -> np.ndarray:
        """Logarithms of the probabilities of the classes."""
        return np.array([number(output.log_prior) for output in self._fitted.outputs])

    @property
    def class_count_(self) -> np.ndarray:
        """Noisy numbers of rows, by class; they may be below zero."""
        return np.array([number(output.n.value) for output in self._fitted.outputs])

    @property
    def class_count_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``class_count_``."""
        return np.array([float(output.n.stderr) for output in self._fitted.outputs])

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.naive_bayes.CategoricalNB`` with these numbers; it takes ``codes(X)``."""
        from sklearn.naive_bayes import CategoricalNB as Theirs  # noqa: PLC0415 (slow to import)

        # A model that was loaded has the parameter of its fit in its document.
        model = Theirs(alpha=float(self._fitted.training.parameters["alpha"]))
        model.feature_log_prob_, model.class_log_prior_ = self.feature_log_prob_, self.class_log_prior_
        model.classes_, model.n_features_in_ = self.classes_, self.n_features_in_
        model.feature_names_in_ = self.feature_names_in_
        model.class_count_ = np.maximum(self.class_count_, 0)
        model.n_categories_ = np.array([part.shape[1] for part in model.feature_log_prob_])
        return model

    def codes(self, X: Any) -> Any:  # noqa: N803
        """Return the position of every value in the levels of its feature: what ``to_sklearn()`` takes.

        A value that is missing or of no level has -1, which scikit-learn refuses.
        """
        encoded, start = self.encode(X), 0
        found = {}
        for feature in self._fitted.features:
            width = sum(1 for _ in enc.columns((feature,)))
            block = np.nan_to_num(encoded.iloc[:, start : start + width].to_numpy())
            found[feature.name] = np.where(block.any(axis=1), block.argmax(axis=1), -1)
            start += width
        return type(encoded)(found, index=encoded.index)

    # Asking --------------------------------------------------------------------------------------------

    def _ask(self, X: Any, y: Any) -> Ask[tuple[k.CategoricalNB, Fact]]:  # noqa: N803
        alpha = _alpha(self.alpha)
        rows, features, classes = targets.checked(
            "CategoricalNB", X, y, self.missing, self.form, every=True, most=MAX_LEVELS
        )
        _check_levels(X, features)
        stacked, keys = _stacked(rows, X._columns, features, y._term)
        levels = [_plan_levels(X._columns[feature.name], feature) for feature in features]

        def present(answer: Answer) -> tuple[k.CategoricalNB, Fact]:
            (found,) = sums(answer, "rows")
            head = origin.head(
                "CategoricalNB",
                rows,
                features,
                answer.fact,
                missing=self.missing,
                parameters={"alpha": alpha},
                noise=found.noise,
                noisy="every count",
            )
            return _model(answer, classes, levels, alpha, head), answer.fact

        # Every row counts once per feature, in one of its levels.
        cells = len(classes.labels) * sum(map(len, levels)) / len(features)
        expects = expected.counts(cells, "fewer levels or features")
        asked = Ask(stacked, (a.Count("rows"),), present, keys)
        return checked(asked, "a CategoricalNB", expects, most=rows.schema.limit)


def _stacked(
    rows: Rows, columns: Mapping[str, Term], features: Sequence[enc.Feature], target: Term
) -> tuple[Rows, dict[str, Term]]:
    """Return the rows once per feature, each with its class and its level of that feature, and the keys to count by."""
    sources = []
    for feature in features:
        level = _level(columns[feature.name], feature)
        derived = a.Derive(rows.relation, (("class", target.scalar), ("level", level.scalar)))
        sources.append(a.Select(derived, ("class", "level")))
    names = tuple(feature.name for feature in features)
    # Of one feature the rows stand there once; a stack is of two or more.
    found = rows.on(a.Stack(tuple(sources), "feature", names) if len(sources) > 1 else sources[0])
    keyed = ("class", "feature", "level") if len(sources) > 1 else ("class", "level")
    return found, {name: found.term(name) for name in keyed}


def _level(term: Term, feature: enc.Feature) -> Term:
    """Return the level a row has as a category: of a labelled cut its bin, of a condition ``true`` or ``false``."""
    plain = dataclasses.replace(term, labels=())
    if feature.kind == "flag":
        yes, no = terms.literal("true", None), terms.literal("false", None)
        plain = terms.case(term, yes, no)
    if feature.fill is not None:
        return terms.case(terms.is_null(term), terms.literal(MISSING, None), plain)
    return plain if feature.kind != "flag" else terms.only(plain, terms.negation(terms.is_null(term)))


def _model(
    answer: Answer, classes: k.Classes, levels: Sequence[Sequence[str]], alpha: float, head: dict[str, Any]
) -> k.CategoricalNB:
    features: tuple[enc.Feature, ...] = head["features"]
    (found,) = sums(answer, "rows")
    keys = [key.labels for key in answer.shaped.keys]
    if len(keys) == 2:
        keys.insert(1, (features[0].name,))
    counts = found.values.reshape([len(labels) for labels in keys])
    tables = []
    for place, wanted in enumerate(levels):
        tables.append(counts[:, place, [keys[2].index(label) for label in wanted]])
    # Every feature counts all rows: the mean over features is the most precise number of rows of a class.
    n = np.mean([table.sum(axis=1) for table in tables], axis=0)
    error = found.noise * math.sqrt(sum(table.shape[1] for table in tables)) / len(tables)
    there = n >= SURE * error
    share = np.maximum(n, 0.5) / np.maximum(n, 0.5).sum()
    names = [column.name for column in enc.columns(features)]
    outputs = []
    for row, label in enumerate(classes.labels):
        pieces = [_log_probabilities(table, row, there, alpha, found.noise) for table in tables]
        values, errors = (np.concatenate(part) for part in zip(*pieces, strict=True))
        outputs.append(
            k.CategoricalClass(
                label=label,
                n=k.Weight("rows", literals.text_of(near(float(n[row]), error)), repr(error)),
                log_prior=literals.text_of(near(math.log(share[row]), 1e-6)),
                weights=tuple(
                    k.Weight(name, literals.text_of(near(float(value), 1e-6)), repr(float(spread)))
                    for name, value, spread in zip(names, values, errors, strict=True)
                ),
            )
        )
    gone = [label for label, known in zip(classes.labels, there, strict=True) if not known]
    each = found.noise * math.sqrt(len(classes.labels))
    ends = np.cumsum([table.shape[1] for table in tables])
    blocks = [
        (names[end - table.shape[1] : end], table.sum(axis=0).tolist()) for end, table in zip(ends, tables, strict=True)
    ]
    notes = remarks.of_counts(blocks, float(n.sum()), each) if there.any() else ()
    return k.CategoricalNB(
        **head,
        reliable=int(there.sum()) >= 2,
        notes=(*remarks.absent(gone, classes, OF_ALL), *notes),
        classes=classes,
        outputs=tuple(outputs),
    )


def _plan_levels(term: Term, feature: enc.Feature) -> list[str]:
    """Return the levels of a feature as the plan knows them, in the order of its encoded columns."""
    missing = [MISSING] if feature.fill is not None else []
    return [*(enc.FLAGS if feature.kind == "flag" else term.grid.domain), *missing]


def _log_probabilities(
    table: np.ndarray, row: int, there: np.ndarray, alpha: float, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithms of smoothed shares and their errors; a class that is not there has those of all rows."""
    counts = table[row] if there[row] else table[there].sum(axis=0) if there.any() else np.zeros(table.shape[1])
    kept = np.maximum(counts, 0.0) + alpha
    total = kept.sum()
    errors = np.hypot(noise / kept, noise * math.sqrt(len(kept)) / total)
    return np.log(kept / total), errors


def _check_levels(X: Frame, features: Sequence[enc.Feature]) -> None:  # noqa: N803
    numbers_ = [feature.name for feature in features if feature.kind not in {"levels", "flag"}]
    if numbers_:
        name = numbers_[0]
        raise PlanError(
            "api.learn.feature",
            f"{name} is a number; this model counts levels",
            nearest=(
                f'{X._rows.label}["band"] = cl.cut({X._rows.label}["{name}"], edges)  # then fit on "band"',
                'GaussianNB(epsilon=1).fit(visits[["age", "cost"]], visits.smoker)',
            ),
        )
    if len(features) > MAX_FEATURES:
        raise PlanError(
            "api.learn.features", f"this model has at most {MAX_FEATURES} features", next_step="select fewer"
        )


def _alpha(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, python_numbers.Real) or not 0 < float(value) < math.inf:
        raise PlanError(
            "api.learn.parameter",
            "alpha= is a number of rows above 0: without it a level nobody has would be impossible",
            next_step="alpha=1 is usual",
        )
    return float(value)
