"""``make_pipeline(Binner(8), WoE(share=0.02), model)``: steps and a model that are fitted, priced and saved as one.

A pipeline takes handles and DataFrames alike. It leaves as a JSON document: the operations of its fitted steps, and the
document of its model. Nothing in it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

import msgspec

from cloister.errors import MalformedError, PlanError
from cloister.plan.numbers import rational
from cloister.sandbox.cost import Cost
from cloister.sandbox.doubts import said
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import document as docs
from cloister.sandbox.learn import prices
from cloister.sandbox.learn.preprocessing import operations as ops
from cloister.sandbox.learn.preprocessing.steps import Step, apply
from cloister.wire import canonical

MAX_BYTES = docs.MAX_BYTES + 2**21
MODEL_PART = Fraction(3, 4)
_FORM = 'make_pipeline(Scaler(), LinearRegression(share=0.1)).fit(visits[["age"]], visits.cost)'


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pipeline as a document; ``model`` is the document of the model, or null."""

    format: Literal["cloister.pipeline"]
    version: Literal[1]
    operations: tuple[ops.Any_, ...]
    model: dict[str, Any] | None


class Pipeline:
    """Steps one after the other, the last of which may be a model.

    Args:
        steps: ``(name, step)`` pairs, as in scikit-learn, or steps.

    Attributes:
        operations: What the fitted steps do, as data.
        model: The model, if there is one.
    """

    def __init__(self, steps: Sequence[Any]) -> None:
        pairs = [pair if isinstance(pair, tuple) else (type(pair).__name__.lower(), pair) for pair in steps]
        self.steps: list[tuple[str, Any]] = pairs
        last = pairs[-1][1] if pairs else None
        before = pairs[:-1] if pairs and not isinstance(last, Step) else pairs
        names = [name for name, _ in pairs]
        if not pairs or not all(isinstance(step, Step) for _, step in before) or len(set(names)) < len(names):
            raise PlanError(
                "api.learn.pipeline",
                "a pipeline has steps of cloister.learn.preprocessing, each under a name of its own, and at most one "
                "model, at its end",
                nearest=(_FORM,),
            )
        if not isinstance(last, Step) and not (hasattr(last, "fit") and hasattr(last, "predict")):
            raise PlanError("api.learn.pipeline", f"a {type(last).__name__} is no model", nearest=(_FORM,))
        self.model: Any = None if isinstance(last, Step) else last
        self._before = [step for _, step in before]
        self._operations: tuple[ops.Any_, ...] | None = None

    @property
    def charged(self) -> list[Step]:
        """The steps whose fit releases something."""
        return [step for step in self._before if step.charged]

    @property
    def operations(self) -> tuple[ops.Any_, ...]:
        """What the fitted steps do.

        Raises:
            PlanError: ``api.learn.unfitted``.
        """
        if self._operations is None:
            raise PlanError("api.learn.unfitted", "this pipeline is not fitted yet", nearest=(_FORM,))
        return self._operations

    def fit(self, X: Frame, y: Any = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Fit the steps in their order, each on what those before it make, then the model; each at its own price.

        Everything is typed once before the first release: a model that cannot use the columns is refused uncharged. If
        any part fails, all parts stay as they were fitted before.

        Raises:
            PlanError: A step or the model cannot be fitted on these columns.
        """
        if self.charged:
            # Typed and priced as a whole, and what is too little is said of every part before the first is paid.
            with said(self._priced(X, y)):
                return self._fit(X, y)
        return self._fit(X, y)

    def _fit(self, X: Frame, y: Any) -> Self:  # noqa: N803
        parts = [*self._before, *([] if self.model is None else [self.model])]
        before = [dict(vars(part)) for part in parts]
        try:
            shown = X
            for step in self._before:
                shown = step.fit(shown, y).transform(shown)
            if self.model is not None:
                self.model.fit(shown, y)
        except BaseException:
            # Steps of this fit and a model of the last one would make a pipeline nobody fitted.
            for part, held in zip(parts, before, strict=True):
                vars(part).clear()
                vars(part).update(held)
            raise
        self._operations = tuple(operation for step in self._before for operation in step.operations)
        return self

    def cost(self, X: Frame, y: Any = None) -> Cost | None:  # noqa: N803
        """Return what ``fit`` costs: the charged steps and the model together. None: nothing is charged."""
        return self._priced(X, y) if self.charged or self.model is not None else None

    def _priced(self, X: Frame, y: Any) -> Cost:  # noqa: N803
        shown, costs = X, []
        for step in self._before:
            price = step.cost(shown, y)
            costs += [] if price is None else [price]
            shown = apply(step.preview(shown), shown)
        if self.model is not None:
            costs.append(self.model.cost(shown, y))
        return prices.together(X._rows.session, costs, whole=False)

    def previewed(self, X: Frame) -> Frame:  # noqa: N803
        """Return columns of the shape the fitted steps will make, with numbers that are made up where a fit decides."""
        shown = X
        for step in self._before:
            shown = apply(step.preview(shown), shown)
        return shown

    def priced(self, share: float) -> Self:
        """Return an unfitted pipeline of the same steps that costs this share of your total.

        The model gets three quarters, charged steps the rest in equal parts; without such steps the model gets all.
        """
        charged = len(self.charged)
        part = 0.0 if not charged else share * (float(1 - MODEL_PART) if self.model is not None else 1.0) / charged
        found = []
        for name, step in self.steps:
            if step is self.model:
                found.append((name, repriced(step, share - part * charged)))
                continue
            new = step.clone()
            found.append((name, new.set_params(epsilon=None, share=part) if step.charged else new))
        return type(self)(found)

    # Using ---------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return the columns as the fitted steps make them."""
        return apply(self.operations, X)

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return the model's predictions: of a handle a column (free), of a DataFrame NumPy values."""
        return self._model().predict(self.transform(X))

    @property
    def score(self) -> Any:
        """The model's score of transformed columns; not a release by itself: see the model."""
        model, make = self._model(), self.transform

        def score(X: Any, y: Any, **options: Any) -> Any:  # noqa: N803
            return model.score(make(X), y, **options)

        return score

    def _model(self) -> Any:
        if self.model is None:
            raise PlanError("api.learn.pipeline", "this pipeline has no model", nearest=(_FORM,))
        return self.model

    def __getattr__(self, name: str) -> Any:
        # What only some models have: of them alone, so that it can be asked whether there is one.
        if name in {"predict_proba", "decision_function"} and hasattr(self.__dict__.get("model"), name):
            method = getattr(self.model, name)
            return lambda X: method(self.transform(X))  # noqa: N803
        raise AttributeError(f"a pipeline has no {name!r}")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return ``steps`` and, if ``deep``, the parameters of every step as ``<name>__<parameter>``."""
        found: dict[str, Any] = {"steps": self.steps}
        if deep:
            found |= {f"{name}__{key}": value for name, step in self.steps for key, value in step.get_params().items()}
        return found

    def set_params(self, **params: Any) -> Self:
        """Change parameters of steps: ``<name>__<parameter>``."""
        known = dict(self.steps)
        for name, value in params.items():
            step, _, key = name.partition("__")
            if step not in known or not key:
                raise PlanError("api.learn.parameter", f"no parameter {name!r}", next_step=f"steps: {', '.join(known)}")
            known[step].set_params(**{key: value})
        return self

    def clone(self) -> Self:
        """Return an unfitted pipeline of the same steps."""
        return type(self)([(name, cloned(step)) for name, step in self.steps])

    # Leaving -------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return the fitted pipeline as a JSON document with the digest of all the rest."""
        model = None if self.model is None else msgspec.json.decode(self.model.to_json())
        fields = msgspec.to_builtins(Saved("cloister.pipeline", 1, self.operations, model))
        sealed = {**fields, "digest": canonical.digest(fields)}
        text = msgspec.json.format(msgspec.json.encode(sealed), indent=2).decode()
        docs.check_size(text, MAX_BYTES, "pipeline")
        return text

    @classmethod
    def from_json(cls, text: str | bytes) -> Pipeline:
        """Return the pipeline of a JSON document.

        Raises:
            MalformedError: Not such a document, or altered after it was written.
        """
        saved = _read(text)
        return _Loaded(saved.operations, None if saved.model is None else _model_of(saved.model))

    def save(self, path: str | Path) -> None:
        """Write ``to_json()`` to a file."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Pipeline:
        """Read a file ``save`` wrote; see ``from_json``."""
        with Path(path).open("rb") as file:
            return cls.from_json(file.read(MAX_BYTES + 1))

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise PlanError(
            "api.pickle",
            "a pickle runs code when it is opened; pipelines leave as JSON",
            nearest=('pipeline.save("pipeline.json")', 'Pipeline.load("pipeline.json")'),
        )

    def __repr__(self) -> str:
        return "Pipeline(" + ", ".join(repr(step).partition("\n")[0] for _, step in self.steps) + ")"


class _Loaded(Pipeline):
    """A pipeline that was read from a file: it transforms and predicts, and is not fitted again."""

    def __init__(self, operations: tuple[ops.Any_, ...], model: Any) -> None:
        self.steps, self._before = [], []
        self.model, self._operations = model, operations

    def fit(self, _X: Any, _y: Any = None) -> NoReturn:  # noqa: N803
        """Refused: the document holds what the steps do, not how they came about."""
        raise PlanError(
            "api.learn.loaded",
            "this pipeline was loaded from a file: it predicts, and is not fitted again",
            nearest=(_FORM,),
        )

    def cost(self, _X: Any, _y: Any = None) -> NoReturn:  # noqa: N803
        """Refused, as ``fit``."""
        self.fit(_X, _y)

    def __repr__(self) -> str:
        return f"Pipeline(loaded: {len(self.operations)} operations, {type(self.model).__name__})"


def make_pipeline(*steps: Any) -> Pipeline:
    """Return a pipeline of steps and, at its end, a model; names are those of their classes, numbered if equal."""
    names = [type(step).__name__.lower() for step in steps]
    seen: dict[str, int] = {}
    pairs = []
    for name, step in zip(names, steps, strict=True):
        seen[name] = seen.get(name, 0) + 1
        pairs.append((f"{name}-{seen[name]}" if names.count(name) > 1 else name, step))
    return Pipeline(pairs)


def cloned(model: Any) -> Any:
    """Return an unfitted model, step or pipeline of the same parameters."""
    return model.clone() if hasattr(model, "clone") else type(model)(**model.get_params())


def repriced(model: Any, share: float) -> Any:
    """Return an unfitted model or pipeline that costs this share of the analyst's total."""
    if isinstance(model, Pipeline):
        return model.priced(share)
    return cloned(model).set_params(epsilon=None, share=share)


def _read(text: str | bytes) -> Saved:
    data = text.encode(errors="replace") if isinstance(text, str) else bytes(text)
    if len(data) > MAX_BYTES:
        raise _malformed(f"a pipeline has at most {MAX_BYTES:,} bytes")
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed("not a JSON document") from error
    if not isinstance(fields, dict) or fields.get("format") != "cloister.pipeline":
        raise _malformed('no document of format "cloister.pipeline"')
    claimed = fields.pop("digest", None)
    if canonical.digest(fields) != claimed:
        raise MalformedError(
            "model.altered",
            "this pipeline was changed after it was written",
            next_step="ask its author for the original",
        )
    try:
        saved = msgspec.convert(fields, Saved)
        for operation in saved.operations:
            _check(operation)
    except (msgspec.ValidationError, PlanError) as error:
        raise _malformed(str(error)[:200]) from error
    return saved


def _check(operation: ops.Any_) -> None:
    """Check what the schema cannot say: numbers are numbers, and lists fit together."""
    match operation:
        case ops.Bins():
            edges = [rational(edge) for edge in operation.edges]
            if len(edges) < 2 or edges != sorted(set(edges)):
                raise _malformed("edges do not ascend")
        case ops.Affine():
            rational(operation.offset)
            if not rational(operation.factor):
                raise _malformed("a factor is zero")
        case ops.Limit():
            if rational(operation.low) > rational(operation.high):
                raise _malformed("limits do not ascend")
        case ops.Fill():
            if operation.kind not in {"number", "bool", "category"}:
                raise _malformed("a fill of no kind")
            if operation.kind == "number":
                rational(operation.value)
        case ops.Weigh():
            if len(operation.levels) != len(operation.weights) or len(operation.levels) > ops.MOST_LEVELS:
                raise _malformed("weights do not fit their levels")
            for weight in operation.weights:
                rational(weight)
        case _:
            pass


def _model_of(document: dict[str, Any]) -> Any:
    from cloister.sandbox.learn.loading import from_json  # noqa: PLC0415 (only when loaded)

    return from_json(msgspec.json.encode(document))


def _malformed(why: str) -> MalformedError:
    return MalformedError(
        "model.malformed",
        f"this is not a Cloister pipeline: {why}",
        next_step="ask its author to write it again with pipeline.save(path)",
    )
