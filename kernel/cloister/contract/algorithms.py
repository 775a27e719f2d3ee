"""The registry of algorithms: every model that can be made, its version, its code, and what may leave of it.

An algorithm is asked of the rows as a *program*: what the vault can tell apart in a plan, and what it refuses if the
contract lists algorithms and none with that program. What is computed from an answer after that is post-processing:
two algorithms of one program (``LinearRegression`` and ``PCA``: a noisy Gram) are allowed or refused together by the
vault. Programs of the operation ``aggregate`` (counts, moments) are aggregates, which no list of algorithms forbids.

``code`` is the digest of the sources an algorithm consists of. The measurement of the enclave covers all code; the
digest says, beside a model, whether two models were made by the same one.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal

import msgspec

from cloister.errors import ContractError

Program = Literal["none", "counts", "moments", "gram", "logistic", "additive", "kmeans"]
Operation = Literal["none", "aggregate", "model"]
_OPERATIONS: dict[Program, Operation] = {"none": "none", "counts": "aggregate", "moments": "aggregate"}
_VAULT = (
    "analyse", "canonical", "compile", "engine", "lineage", "load", "lookup", "measures_sql", "noise", "norms", "order",
    "price", "relations_sql", "sampler", "scalars_dates_sql", "scalars_numbers_sql", "scalars_sql",
    "scalars_text_sql", "sql_terms", "stage", "targets", "thresholds", "units",
)  # fmt: skip
# What every release consists of: the meaning of plans (all of it), and how the vault computes and noises them.
_RELEASES = ("plan", *(f"vault/{name}.py" for name in _VAULT))
_FITS = (
    *(f"vault/{name}.py" for name in ("fit", "fit_rows", "fit_sums")),
    "sandbox/learn/fit_terms.py",
)
# What every model consists of: its encoding, its numbers and its predictions, but not how it is shown.
_LEARN = tuple(
    f"sandbox/learn/{name}.py"
    for name in (
        "document",
        "encoding",
        "features",
        "fits",
        "kinds",
        "origin",
        "predicting",
        "remarks",
        "rounding",
        "scoring",
    )
)
_CLASSES = tuple(f"sandbox/learn/{name}.py" for name in ("classifier", "targets"))
_GRAM = ("sandbox/gram.py", "sandbox/ridge.py", "sandbox/learn/asking.py")


class Algorithm(msgspec.Struct, frozen=True):
    """An entry of the registry.

    Attributes:
        name: Its name, also that of its class in ``cloister.learn``.
        version: Counts changes of what it computes.
        program: What it asks of the rows, as the vault sees it; ``none``: nothing.
        makes: In one line, what it is.
        outputs: What may leave: kinds of model documents and of exports.
        sources: Files and folders of the package that it consists of.
    """

    name: str
    version: int
    program: Program
    makes: str
    outputs: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def label(self) -> str:
        """``name@version``, as contracts list it."""
        return f"{self.name}@{self.version}"

    @property
    def operation(self) -> Operation:
        """The operation of the contract it needs; none if it is computed from a model that is released already."""
        return _OPERATIONS.get(self.program, "model")


_ALL = ("json", "onnx", "scikit-learn", "model card")


def _entry(name: str, program: Program, makes: str, *sources: str, outputs: tuple[str, ...] = _ALL) -> Algorithm:
    fits = _FITS if program in {"logistic", "additive", "kmeans"} else ()
    shared = () if program == "none" else (*_RELEASES, *fits)
    return Algorithm(name, 1, program, makes, outputs, (*shared, *_LEARN, *sources))


REGISTRY: tuple[Algorithm, ...] = (
    _entry(
        "LinearRegression",
        "gram",
        "ridge regression of a number or condition, from one noisy Gram matrix",
        *_GRAM,
        "sandbox/learn/fitting.py",
        "sandbox/learn/linear.py",
        "sandbox/learn/model.py",
    ),
    _entry(
        "PCA",
        "gram",
        "principal components of numbers, from one noisy Gram matrix",
        *_GRAM,
        "sandbox/learn/components.py",
        "sandbox/learn/pca.py",
    ),
    _entry(
        "GaussianNB",
        "moments",
        "naive Bayes of numbers, from count, sum and square per class",
        *_CLASSES,
        "sandbox/learn/columns.py",
        "sandbox/learn/gaussian.py",
    ),
    _entry(
        "CategoricalNB",
        "counts",
        "naive Bayes of categories, from counts per class and level",
        *_CLASSES,
        "sandbox/learn/categorical.py",
        "sandbox/learn/columns.py",
        "sandbox/learn/gaussian.py",
    ),
    _entry(
        "AdditiveClassifier",
        "additive",
        "additive model of a condition: a step function per feature, boosted feature by feature",
        *_CLASSES,
        "sandbox/learn/additive.py",
        "sandbox/learn/logistic.py",
        "sandbox/learn/logistic_model.py",
    ),
    _entry(
        "KMeans",
        "kmeans",
        "clusters of rows, from noisy counts and sums by nearest centre; public initial centres",
        "sandbox/learn/clusters.py",
        "sandbox/learn/kmeans.py",
    ),
    _entry(
        "LogisticRegression",
        "logistic",
        "logistic regression of a condition or category, from a noisy Gram and clipped noisy gradients",
        *_CLASSES,
        "sandbox/learn/logistic.py",
        "sandbox/learn/logistic_model.py",
    ),
    _entry(
        "Scorecard",
        "none",
        "points table of a logistic or additive model; makes no release of its own",
        "sandbox/learn/scorecard.py",
    ),
)


def by_name(name: str) -> Algorithm:
    """Return the algorithm of a name.

    Raises:
        KeyError: There is none.
    """
    return next(found for found in REGISTRY if found.name == name)


def programs(listed: tuple[str, ...]) -> frozenset[Program]:
    """Return what the listed algorithms ask of the rows."""
    return frozenset(found.program for found in REGISTRY if found.label in listed) - {"none"}


def beside(listed: tuple[str, ...]) -> tuple[Algorithm, ...]:
    """Return the algorithms that are not listed and need nothing of the rows that a listed one does not ask."""
    asked = programs(listed)
    return tuple(found for found in REGISTRY if found.label not in listed and found.program in asked)


def not_listed(what: str, listed: tuple[str, ...]) -> ContractError:
    """Return the refusal of an algorithm (or of a program, in words) that a contract does not list."""
    return ContractError(
        "contract.algorithm",
        f"the contract does not list {what}",
        clause="algorithms",
        nearest=listed,
        next_step="Use an algorithm the contract lists, or ask the provider for a contract that lists this one.",
    )


def listing() -> list[dict[str, Any]]:
    """Return the registry as plain data, each entry with its label, operation and the digest of its code."""
    return [
        {**msgspec.to_builtins(found), "label": found.label, "operation": found.operation, "code": code(found)}
        for found in REGISTRY
    ]


@functools.cache
def code(algorithm: Algorithm) -> str:
    """Return the digest of an algorithm's sources: of their paths and bytes, in order of the paths."""
    found = hashlib.sha256()
    for path, data in sorted(item for source in algorithm.sources for item in _read(source)):
        found.update(f"{path}\0{len(data)}\0".encode() + data)
    return f"sha256:{found.hexdigest()}"


def _read(source: str) -> Iterator[tuple[str, bytes]]:
    place = files("cloister")
    for part in source.split("/"):
        place = place.joinpath(part)
    yield from _files(source, place)


def _files(path: str, place: Traversable) -> Iterator[tuple[str, bytes]]:
    if place.is_file():
        yield path, place.read_bytes()
    elif place.is_dir():
        for child in place.iterdir():
            if child.name.endswith(".py") or (child.is_dir() and child.name != "__pycache__"):
                yield from _files(f"{path}/{child.name}", child)
