"""A fitted model of every kind: some fitted on the clinic, the others written down from fixed numbers."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

import cloister.sandbox as cl
from cloister.learn import PCA, CategoricalNB, GaussianNB, LinearRegression, Scorecard
from cloister.sandbox import literals
from cloister.sandbox.column import Column
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import loading
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.features import Feature, columns

NUMBERS = (
    Feature("age", "number", "0", "110"),
    Feature("bmi", "number", "10", "60", "0.1", fill="35"),
    Feature("smoker", "condition"),
    Feature("region", "category", levels=("north", "south", "east", "west")),
)
LEVELS = (
    Feature("sex", "levels", levels=("F", "M", "X", "(other)")),
    Feature("region", "levels", levels=("north", "(other)", "west")),
    Feature("bmi", "bins", edges=("10", "25", "30.5", "60"), fill="0"),
    Feature("cost", "bins", edges=("0", "500", "800", "2000")),
    Feature("smoker", "flag"),
)
NAMES = ["age", "bmi", "smoker", "region", "sex", "cost"]
CONDITION = k.Classes("smoker", ("false", "true"), condition=True)
REGIONS = k.Classes("region", ("north", "south", "west"), condition=False)


def every(frame: cl.Frame) -> dict[str, Model[Any]]:
    """Return one model of every kind."""
    linear = LinearRegression(share=0.1, missing="indicator").fit(frame[["age", "bmi", "smoker", "region"]], frame.cost)
    found: dict[str, Model[Any]] = {
        "LinearRegression": linear,
        "GaussianNB": GaussianNB(share=0.1).fit(frame[["age", "cost", "smoker", "sex"]], frame.region),
        "GaussianNB of gaps": GaussianNB(share=0.1, missing="drop").fit(frame[["age", "bmi"]], frame.cost > 650),
        "CategoricalNB": CategoricalNB(share=0.1).fit(frame[["sex", "smoker", "region"]], price(frame)),
        "PCA": PCA(2, scaled=True, share=0.1).fit(frame[["age", "cost", "smoker"]]),
    }
    head = {name: getattr(linear.document, name) for name in k.Head.__struct_fields__}
    found |= {name: loading.CLASSES[place].from_document(document) for name, place, document in _written(head)}
    found["Scorecard"] = Scorecard().of(found["Additive"])
    return found


def price(frame: cl.Frame) -> Column:
    """Return a category of three labels that depends on region and smoking."""
    found = cl.case((frame.cost < 600, "low"), (frame.cost < 720, "middle"), default="high")
    return frame.assign(price=found).price


def _written(head: dict[str, Any]) -> list[tuple[str, int, k.Document]]:
    places = {kind: place for place, known in enumerate(loading.CLASSES) for kind in known.kinds}
    rows = k.Weight("rows", "3000", "2.5")
    numbers, levels = {**head, "features": NUMBERS}, {**head, "features": LEVELS}
    logistic = k.LogisticRegression(
        **numbers,
        classes=CONDITION,
        n=rows,
        intercept=k.Weight("intercept", "-0.8", "0.1"),
        weights=weights(NUMBERS, 1),
    )
    additive = k.Additive(
        **levels, classes=CONDITION, n=rows, intercept=k.Weight("intercept", "-0.2", "0.1"), weights=weights(LEVELS, 2)
    )
    outputs = tuple(
        k.Output(label, k.Weight("intercept", f"0.{place}", "0.1"), weights(NUMBERS, 3 + place))
        for place, label in enumerate(REGIONS.labels)
    )
    centres = tuple(
        k.Centre(str(place), rows, (k.Weight("age", f"{age}.5"), *weights(NUMBERS, 7 + place, wide=True)[1:]))
        for place, age in enumerate((15, 50, 95))
    )
    scales = tuple(
        "55" if column.name == "age" else "25" if column.name == "bmi" else "4" for column in columns(NUMBERS)
    )
    documents: list[k.Document] = [
        logistic,
        additive,
        k.MultinomialLogistic(**numbers, classes=REGIONS, n=rows, outputs=outputs),
        k.KMeans(**numbers, centres=centres, scales=scales),
    ]
    return [(type(document).__name__, places[type(document)], document) for document in documents]


def weights(features: tuple[Feature, ...], seed: int, *, wide: bool = False) -> tuple[k.Weight, ...]:
    """Return a number for every encoded column: of a size that makes a difference, or (``wide``) within its bounds."""
    source = random.Random(seed)
    found = []
    for column in columns(features):
        low, high = Fraction(0 if wide else -1), Fraction(1)
        if wide and column.role == "value":
            low, high = Fraction(column.feature.low), Fraction(column.feature.high)
        size = 1 if wide or column.role != "value" else column.reach
        value = (low + (high - low) * Fraction(source.randint(0, 1_000), 1_000)) / size
        found.append(k.Weight(column.name, literals.text_of(round(value, 5)), "0.05"))
    return tuple(found)


def feed(model: Model[Any], rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return what the inputs of a model's ONNX graph take."""
    found = {}
    for feature in model.document.features:
        values = rows[feature.name]
        if feature.kind in {"category", "levels"}:
            plain = values.astype(object).where(values.notna(), "").to_numpy(dtype=object)
        else:
            plain = values.to_numpy(dtype=float, na_value=np.nan)
        found[feature.name] = plain.reshape(-1, 1)
    return found
