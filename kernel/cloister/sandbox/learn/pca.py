"""``PCA``: principal components of numbers, from one noisy Gram matrix.

    model = PCA(n_components=2, scaled=True, epsilon=1).fit(visits[["age", "cost", "bmi"]])
    model.transform(visits)

The release is that of ``cl.gram`` and of ``LinearRegression`` of the same columns.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from cloister.errors import PlanError
from cloister.sandbox import literals
from cloister.sandbox.answer import Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.cost import Cost
from cloister.sandbox.frame import Frame
from cloister.sandbox.gram import Gram
from cloister.sandbox.learn import asking, expected, numbers, origin, predicting, remarks
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.components import decompose
from cloister.sandbox.learn.document import number
from cloister.sandbox.learn.encoding import on_handle
from cloister.sandbox.learn.rounding import near
from cloister.sandbox.learn.scoring import scores_of
from cloister.sandbox.precision import Precision


class PCA(Model[k.PCA]):
    """Principal components of numbers, conditions and categories.

    Args:
        n_components: How many are kept; by default all.
        scaled: Divide every column by half its public range first. Columns in different units then compare; otherwise
            the one with the largest numbers is the first component.
        epsilon: Privacy price of the fit; or
        share: the price as a share of your total. With neither, the contract's default share.
        missing: ``"refuse"`` features that may be missing, ``"drop"`` such rows, or mark them by an ``"indicator"``.

    Attributes:
        components_: Directions, one per row; ``components_stderr_`` is the privacy noise in them.
        explained_variance_: Variances along them; ``explained_variance_stderr_`` likewise.
        explained_variance_ratio_: Their shares of the variance of all columns.
        mean_: Means of the columns.
        n_: The noisy number of rows.
    """

    kinds: ClassVar[tuple[type[k.Head], ...]] = (k.PCA,)
    form: ClassVar[str] = 'PCA(n_components=2, epsilon=1).fit(visits[["age", "cost"]])'

    def __init__(
        self,
        n_components: int | None = None,
        *,
        scaled: bool = False,
        epsilon: float | None = None,
        share: float | None = None,
        missing: enc.Missing = "refuse",
    ) -> None:
        self.n_components = n_components
        self.scaled = scaled
        self.epsilon = epsilon
        self.share = share
        self.missing = missing

    def fit(self, X: Frame, y: Any = None) -> Self:  # noqa: N803, ARG002 (scikit-learn's names)
        """Release one noisy Gram of the features, and compute the components from it.

        Raises:
            PlanError: Not a handle, or columns a model cannot use. Nothing was charged.
        """
        self._document, self._fact = self._ask(X).release(Precision(self.epsilon, self.share))
        return self

    def fit_transform(self, X: Frame, y: Any = None) -> Frame:  # noqa: N803
        """``fit``, then ``transform`` of the same handle."""
        found: Frame = self.fit(X, y).transform(X)
        return found

    def cost(self, X: Frame, y: Any = None, *, epsilon: Any = None, share: Any = None) -> Cost:  # noqa: N803, ARG002
        """Return what fitting would cost, and the noise in every entry of the Gram (in rows); nothing is spent."""
        own = epsilon is None and share is None
        found = self._ask(X).cost(Precision(self.epsilon, self.share) if own else Precision(epsilon, share))
        return dataclasses.replace(found, errors={"every entry of the Gram": max(found.errors.values())})

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return the rows along the components: of a handle one column each (free), else rows by components.

        Raises:
            PlanError: A feature is not there or of another kind.
        """
        if isinstance(X, Frame):
            return predicting.scores(X, self._fitted)
        return scores_of(self._fitted).on_array(self.encode(X).to_numpy())

    # What was found ------------------------------------------------------------------------------------

    @property
    def components_(self) -> np.ndarray:
        """Directions, one per row; of scaled columns if ``scaled``."""
        return np.array([numbers.weights(component.weights) for component in self._fitted.components])

    @property
    def components_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``components_``, to first order and at most 1."""
        return np.array([numbers.errors(component.weights) for component in self._fitted.components])

    @property
    def explained_variance_(self) -> np.ndarray:
        """Variances along the components."""
        return np.array([number(component.variance.value) for component in self._fitted.components])

    @property
    def explained_variance_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``explained_variance_``, to first order."""
        return np.array([float(component.variance.stderr) for component in self._fitted.components])

    @property
    def explained_variance_ratio_(self) -> np.ndarray:
        """Shares of the variance of all columns."""
        return np.array([float(component.share) for component in self._fitted.components])

    @property
    def mean_(self) -> np.ndarray:
        """Means of the encoded columns, in their own units."""
        return numbers.weights(self._fitted.centre)

    @property
    def scale_(self) -> np.ndarray:
        """What every encoded column is divided by: 1, or half its public range."""
        return np.array([number(scale) for scale in self._fitted.scales])

    @property
    def n_(self) -> float:
        """The noisy number of rows."""
        return number(self._fitted.n.value)

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.decomposition.PCA``, after a ``StandardScaler`` if ``scaled``.

        It takes ``encode(X)``.
        """
        from sklearn.decomposition import PCA as Theirs  # noqa: N811, PLC0415 (slow to import)
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        scale, names = self.scale_, self.get_feature_names_out()
        model = Theirs(n_components=len(self.components_))
        model.components_, model.mean_ = self.components_, self.mean_ / scale
        model.explained_variance_ = self.explained_variance_
        model.explained_variance_ratio_ = self.explained_variance_ratio_
        model.n_components_, model.n_features_in_ = len(self.components_), len(names)
        model.n_samples_ = max(round(self.n_), 1)
        model.singular_values_ = np.sqrt(self.explained_variance_ * max(model.n_samples_ - 1, 1))
        model.noise_variance_ = 0.0
        if (scale == 1).all():
            model.feature_names_in_ = names
            return model
        scaler = StandardScaler(with_mean=False)
        scaler.scale_, scaler.var_, scaler.mean_ = scale, scale**2, np.zeros(len(scale))
        scaler.n_samples_seen_, scaler.n_features_in_ = model.n_samples_, len(names)
        scaler.feature_names_in_ = names
        return make_pipeline(scaler, model)

    # Asking --------------------------------------------------------------------------------------------

    def _ask(self, X: Any) -> Ask[tuple[k.PCA, Fact]]:  # noqa: N803
        if self.missing not in enc.MISSING:
            raise PlanError("api.learn.parameter", f"missing= is one of {', '.join(map(repr, enc.MISSING))}")
        asking.check_frame(X, self.form)
        origin.check_allowed("PCA", X._rows)
        rows, features = enc.describe(X, self.missing)
        encoded = on_handle(Frame(rows, X._columns), features)
        kept = _kept(self.n_components, len(encoded))

        def present(gram: Gram) -> tuple[k.PCA, Fact]:
            head = origin.head(
                "PCA",
                rows,
                features,
                gram.fact,
                missing=self.missing,
                parameters={"n_components": kept, "scaled": self.scaled},
                noise=gram.stderr,
                noisy="every entry of the Gram",
            )
            return _model(gram, kept, scaled=self.scaled, head=head), gram.fact

        return asking.ask("a PCA", expected.components(features), rows, list(encoded.values()), present)


def _model(gram: Gram, kept: int, *, scaled: bool, head: dict[str, Any]) -> k.PCA:
    scales = gram.scales.to_numpy()
    found = decompose(gram.matrix.to_numpy(), gram.stderr, np.ones(len(scales)) if scaled else scales)
    names = [column.name for column in enc.columns(head["features"])]
    total = max(float(found.variances.sum()), 1e-300)
    centre = gram.offsets.to_numpy() + scales * found.mean
    error = scales * gram.stderr * np.sqrt(1 + found.mean**2) / max(found.n, 1.0)
    mixed = [f"{place + 1} and {place + 2}" for place in found.mixed if place < kept]
    notes = [*remarks.of_matrix(names, gram.matrix.to_numpy(), gram.stderr)]
    notes += [
        f"components {pair} differ in variance by less than the noise: their directions are mixed" for pair in mixed
    ]
    return k.PCA(
        **head,
        reliable=found.reliable,
        notes=tuple(notes),
        n=k.Weight("rows", literals.text_of(near(found.n, gram.stderr)), repr(float(gram.stderr))),
        centre=_weights(names, centre, error),
        scales=tuple(literals.text_of(Fraction(float(scale))) if scaled else "1" for scale in scales),
        components=tuple(
            k.Component(
                variance=_weights(["variance"], found.variances[[place]], found.variance_errors[[place]])[0],
                share=repr(float(found.variances[place] / total)),
                weights=_weights(names, found.vectors[place], found.vector_errors[place]),
            )
            for place in range(kept)
        ),
    )


def _weights(names: list[str], values: np.ndarray, errors: np.ndarray) -> tuple[k.Weight, ...]:
    return tuple(
        k.Weight(name, literals.text_of(near(float(value), float(error))), repr(float(error)))
        for name, value, error in zip(names, values, errors, strict=True)
    )


def _kept(value: Any, most: int) -> int:
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise PlanError(
            "api.learn.parameter",
            f"n_components= is a whole number from 1 to {most}, the number of encoded columns",
            next_step="leave it out to keep all",
        )
    return value
