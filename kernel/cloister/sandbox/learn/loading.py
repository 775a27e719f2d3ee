"""``cloister.learn.load``: a model of any kind from its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloister.sandbox.learn import document as docs
from cloister.sandbox.learn.additive import AdditiveClassifier
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.categorical import CategoricalNB
from cloister.sandbox.learn.gaussian import GaussianNB
from cloister.sandbox.learn.kmeans import KMeans
from cloister.sandbox.learn.linear import LinearRegression
from cloister.sandbox.learn.logistic import LogisticRegression
from cloister.sandbox.learn.pca import PCA
from cloister.sandbox.learn.scorecard import Scorecard

CLASSES: tuple[type[Model[Any]], ...] = (
    LinearRegression,
    LogisticRegression,
    AdditiveClassifier,
    GaussianNB,
    CategoricalNB,
    KMeans,
    PCA,
    Scorecard,
)


def load(path: str | Path) -> Model[Any]:
    """Return the model of a JSON file that ``save`` wrote, of whatever kind.

    Raises:
        MalformedError: Not such a file, of another version, or altered.
    """
    with Path(path).open("rb") as file:
        return from_json(file.read(docs.MAX_BYTES + 1))


def from_json(text: str | bytes) -> Model[Any]:
    """Return the model of a JSON document, of whatever kind; see ``load``."""
    document = docs.decode(text)
    found = next(known for known in CLASSES if isinstance(document, known.kinds))
    return found.from_document(document)
