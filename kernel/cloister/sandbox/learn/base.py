"""A fitted model of any kind: what it says of itself, and the ways it leaves.

Everything is read from one document (``document.py``), so a model that was loaded from a file predicts and shows
itself as the one that was fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeVar

import numpy as np
import pandas as pd

from cloister.errors import MalformedError, PlanError
from cloister.sandbox import render
from cloister.sandbox.answer import Fact
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import card
from cloister.sandbox.learn import document as docs
from cloister.sandbox.learn.encoding import on_handle, on_table
from cloister.sandbox.learn.features import columns
from cloister.sandbox.learn.kinds import Head
from cloister.sandbox.release import Release

D = TypeVar("D", bound=Head)


class Model(Generic[D]):
    """What every model is once it is fitted or loaded. ``kinds`` are the kinds of document it holds."""

    kinds: ClassVar[tuple[type[Head], ...]] = ()
    form: ClassVar[str] = 'LinearRegression(epsilon=1).fit(visits[["age", "region"]], visits.cost)'
    _document: D | None = None
    _fact: Fact | None = None

    def __init__(self) -> None:
        """A model without parameters, as one read from a file is."""

    # scikit-learn's words for parameters ---------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 (the signature of scikit-learn)
        """Return the parameters of the constructor."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; what was fitted stays until the next ``fit``."""
        for name, value in params.items():
            if name not in self._names():
                known = ", ".join(self._names())
                raise PlanError("api.learn.parameter", f"no parameter {name!r}", next_step=f"parameters: {known}")
            setattr(self, name, value)
        return self

    @classmethod
    def _names(cls) -> Sequence[str]:
        code = cls.__init__.__code__
        return code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]

    # What was found ------------------------------------------------------------------------------------

    @property
    def document(self) -> D:
        """The fitted model as plain data: what ``to_json`` writes."""
        return self._fitted

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features the model was fitted on."""
        return np.array([feature.name for feature in self._fitted.features], dtype=object)

    @property
    def n_features_in_(self) -> int:
        """Number of these features."""
        return len(self._fitted.features)

    def get_feature_names_out(self) -> np.ndarray:
        """Return the names of the encoded columns, in the order of the model's numbers."""
        return np.array([column.name for column in columns(self._fitted.features)], dtype=object)

    @property
    def reliable_(self) -> bool:
        """Whether the data stand out of the noise; if not, no number of the model says anything."""
        return self._fitted.reliable

    @property
    def notes_(self) -> tuple[str, ...]:
        """What the data made necessary: classes without rows, spreads that noise hides."""
        return self._fitted.notes

    def table(self) -> pd.DataFrame:
        """Return the numbers of the model with standard errors and 95 % intervals of the noise."""
        return card.numbers(self._fitted)

    @property
    def release(self) -> Release:
        """The facts of the release, with the numbers of the model as its values."""
        document, fact = self._fitted, self._fact
        if fact is None:
            raise PlanError(
                "api.learn.loaded",
                "this model was loaded from a file: the release happened elsewhere",
                next_step="model.document.provenance names the receipt; model.model_card() shows the facts",
            )
        shown = self.table()
        parts: dict[str, Any] = {name: shown[name] for name in ("value", "stderr", "low", "high", "unreliable")}
        return Release(fact=fact, derived=card.derived(document), **parts)

    # Predicting ----------------------------------------------------------------------------------------

    def encode(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's names)
        """Return the encoded columns: what ``to_sklearn()`` takes. A handle gives a handle."""
        model = self._fitted
        if isinstance(X, Frame):
            return Frame(X._rows, on_handle(X, model.features))
        return on_table(self._as_table(X), model.features)

    def _as_table(self, X: Any) -> pd.DataFrame:  # noqa: N803
        if isinstance(X, pd.DataFrame):
            return X
        names = list(self.feature_names_in_)
        found = None if isinstance(X, Column | pd.Series | str) else np.asarray(X)
        if found is None or found.ndim != 2 or found.shape[1] != len(names):
            raise PlanError(
                "api.learn.predict",
                f"predict takes a handle, a DataFrame or an array with {len(names)} columns ({', '.join(names)})",
                nearest=("model.predict(visits)", "model.predict(visits.mock(5))"),
            )
        return pd.DataFrame(found, columns=names)

    # Leaving -------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return the model as a JSON document (docs/analyst-api.md); it holds numbers and facts, no code."""
        return docs.encode(self._fitted)  # type: ignore[arg-type]  # every head is one of the kinds

    def to_onnx(self) -> bytes:
        """Return the model as an ONNX graph with one input per feature, which holds numbers, no code of ours.

        Raises:
            RefusedError: ``install.extra``: the optional package ``onnx`` is not installed.
        """
        from cloister.sandbox.learn.onnx_graph import serialized  # noqa: PLC0415 (an optional package)

        return serialized(self._fitted)  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the model of a JSON document.

        Raises:
            MalformedError: Not such a document, of another version or kind, or altered.
        """
        return cls.from_document(docs.decode(text))

    @classmethod
    def from_document(cls, document: Head) -> Self:
        """Return the model of a document.

        Raises:
            MalformedError: ``model.kind``: a document of another kind of model.
        """
        if not isinstance(document, cls.kinds):
            raise MalformedError(
                "model.kind",
                f"this is a model of kind {type(document).__name__}, not of {cls.__name__}",
                next_step="cloister.learn.load(path) reads every kind",
            )
        model = cls.__new__(cls)
        model._restore(document)  # type: ignore[arg-type]
        return model

    def _restore(self, document: D) -> None:
        """Take a document of another session; parameters of the constructor are its defaults."""
        type(self).__init__(self)
        self._document = document

    def save(self, path: str | Path) -> None:
        """Write ``to_json()`` to a file, or ``to_onnx()`` if its name ends in ``.onnx``."""
        path = Path(path)
        if path.suffix == ".onnx":
            path.write_bytes(self.to_onnx())
        else:
            path.write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a JSON file ``save`` wrote; see ``from_json``."""
        with Path(path).open("rb") as file:
            return cls.from_json(file.read(docs.MAX_BYTES + 1))

    def model_card(self) -> card.ModelCard:
        """Return the model card: what the model is for, made of, good for, and what it cost."""
        return card.ModelCard(self._fitted)

    # Python --------------------------------------------------------------------------------------------

    @property
    def _fitted(self) -> D:
        if self._document is None:
            raise PlanError("api.learn.unfitted", "this model is not fitted yet", nearest=(self.form,))
        return self._document

    def _lines(self) -> list[str]:
        return [] if self._fact is None else render.facts(self.release)

    def __repr__(self) -> str:
        default = type(self)().get_params()
        params = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items() if value != default[name])
        head = f"{type(self).__name__}({params})"
        return head if self._document is None else f"{head}\n{card.text(self._document, self._lines())}"

    def _repr_html_(self) -> str:
        if self._document is None:
            return f"<code>{card.escape(repr(self))}</code>"
        return card.html_of(self._document, self._lines())

    def __copy__(self) -> Self:
        new = type(self)(**self.get_params())
        new._document, new._fact = self._document, self._fact
        return new

    def __deepcopy__(self, _memo: Any) -> Self:
        return self.__copy__()

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise PlanError(
            "api.pickle",
            "a pickle runs code when it is opened; models leave as JSON",
            nearest=('model.save("model.json")', f'{type(self).__name__}.load("model.json")'),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return self._document is not None
