"""A fitted model as a document: everything that leaves, nothing that runs.

The JSON is versioned and closed (an unknown or absent field is refused), holds no code, and ends in a digest of all the
rest: an altered file is refused. The digest protects against accidents and careless edits, not against a forger, who
can compute it again; what proves that numbers came out of the enclave is the receipt whose digest the file names.
Numbers are texts: coefficients exact rationals, errors the shortest decimals of their doubles.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Literal

import msgspec

from cloister.errors import MalformedError, PlanError
from cloister.plan.numbers import rational
from cloister.sandbox.learn.features import MAX_COLUMNS, Feature, columns
from cloister.wire import canonical

FORMAT = "cloister.model"
MAX_BYTES = 2**20


class Coefficient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A coefficient with the standard errors of privacy noise and of sampling."""

    name: str
    value: str
    stderr: str
    sampling: str


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is predicted, with its public bounds."""

    name: str
    low: str
    high: str


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model was made from (all tables, in words), and the choices made."""

    table: str
    title: str
    rows: str
    unit: str
    rows_per_unit: int
    purposes: tuple[str, ...]
    missing: Literal["refuse", "drop", "indicator"]
    alpha: str


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well it describes the rows it was made from; ``margin`` is the data over the noise."""

    n: str
    n_stderr: str
    r2: str
    r2_stderr: str
    residual: str
    margin: str


class Paid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one more account paid: zCDP ``rho`` (exact), and the epsilon it amounts to at ``delta``."""

    population: str
    rho: str
    epsilon: str
    delta: str


class Privacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The price of the one release: zCDP ``rho`` (exact), the epsilon it amounts to, and the noise of an entry.

    ``others`` are there where tables of several accounts were used: each of them is charged.
    """

    population: str
    rho: str
    epsilon: str
    delta: str
    noise: str
    others: tuple[Paid, ...] = ()

    @property
    def accounts(self) -> tuple[Paid, ...]:
        """Every account that was charged."""
        return (Paid(self.population, self.rho, self.epsilon, self.delta), *self.others)


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Digests that lead back to contract, plan and receipt (``""``: a mock release has no receipt)."""

    contract: str
    plan: str
    release: str
    receipt: str


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fitted linear model."""

    format: Literal["cloister.model"]
    version: Literal[1]
    kind: Literal["LinearRegression"]
    mode: Literal["confidential", "mock", "teaching"]
    assurance: str
    target: Target
    features: tuple[Feature, ...]
    intercept: Coefficient
    coefficients: tuple[Coefficient, ...]
    reliable: bool
    training: Training
    metrics: Metrics
    privacy: Privacy
    provenance: Provenance

    @property
    def lines(self) -> tuple[Coefficient, ...]:
        """The intercept and the coefficients."""
        return (self.intercept, *self.coefficients)


class _Sealed(Document, frozen=True, forbid_unknown_fields=True):
    digest: str


def encode(document: Document) -> str:
    """Return the document as JSON text, indented, with its digest."""
    fields = msgspec.to_builtins(document)
    return msgspec.json.format(msgspec.json.encode({**fields, "digest": canonical.digest(fields)}), indent=2).decode()


def decode(text: str | bytes) -> Document:
    """Return the document a JSON text spells.

    Raises:
        MalformedError: Not such a document (``model.malformed``), of another version (``model.version``), or changed
            after it was written (``model.altered``).
    """
    data = text.encode(errors="replace") if isinstance(text, str) else bytes(text)
    if len(data) > MAX_BYTES:
        raise _malformed(f"a model has at most {MAX_BYTES:,} bytes")
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed("not a JSON document") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise _malformed(f'no document of format "{FORMAT}"')
    if fields.get("version") != 1 or fields.get("kind") != "LinearRegression":
        raise MalformedError(
            "model.version",
            "a model of another version or kind",
            next_step="this version of cloister reads version 1 of LinearRegression; try a newer one",
        )
    try:
        sealed = msgspec.convert(fields, _Sealed)
    except msgspec.ValidationError as error:
        raise _malformed(str(error)[:200]) from error
    claimed = fields.pop("digest")
    if canonical.digest(fields) != claimed:
        raise MalformedError(
            "model.altered", "this model was changed after it was written", next_step="ask its author for the original"
        )
    values = msgspec.structs.asdict(sealed)
    del values["digest"]
    document = Document(**values)
    check(document)
    return document


def check(document: Document) -> None:
    """Check what the schema cannot say: numbers are numbers, and coefficients belong to features.

    Raises:
        MalformedError: They are not, or do not.
    """
    try:
        for feature in document.features:
            if not rational(feature.low) < rational(feature.high) or not rational(feature.step) > 0:
                raise _malformed(f"the bounds of {feature.name!r} are reversed")
            _check_kind(feature)
        if not rational(document.target.low) < rational(document.target.high):
            raise _malformed("the bounds of the target are reversed")
        for line in document.lines:
            rational(line.value)
        for paid in document.privacy.accounts:
            rational(paid.rho)
    except PlanError as error:
        raise _malformed(error.reason) from error
    expected = [column.name for column in itertools.islice(columns(document.features), MAX_COLUMNS + 1)]
    if [line.name for line in document.coefficients] != expected or not 1 <= len(set(expected)) <= MAX_COLUMNS:
        raise _malformed("the coefficients are not those of the features")
    errors = [text for line in document.lines for text in (line.stderr, line.sampling)]
    rest = msgspec.structs.astuple(document.metrics)
    privacy = document.privacy
    prices = [text for account in privacy.accounts for text in (account.epsilon, account.delta)]
    for text in (*errors, *rest, document.training.alpha, *prices, privacy.noise):
        try:
            known = math.isfinite(float(text))
        except ValueError:
            known = False
        if not known:
            raise _malformed(f"{text[:40]!r} is not a finite number")
    if any(float(text) < 0 for text in errors):
        raise _malformed("a standard error is below zero")


def _check_kind(feature: Feature) -> None:
    category = feature.kind == "category"
    if category != (len(feature.levels) >= 2) or len(set(feature.levels)) < len(feature.levels):
        raise _malformed(f"the levels of {feature.name!r} do not fit its kind")
    if feature.fill is not None and not category:
        rational(feature.fill)


def number(text: str) -> float:
    """Return the double nearest to a rational or decimal of a document."""
    return float(Fraction(text))


def _malformed(why: str) -> MalformedError:
    return MalformedError(
        "model.malformed",
        f"this is not a Cloister model: {why}",
        next_step="ask its author to write it again with model.save(path)",
    )
