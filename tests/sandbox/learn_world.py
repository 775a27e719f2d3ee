"""The clinic with an effect in it: cost depends on age, smoking, region and BMI, so a model has something to find."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import sandbox_world as world

import cloister.sandbox as cl
from cloister.sandbox import session as sessions
from cloister.sandbox.session import Session
from cloister.vault import describe
from cloister.vault.engine import Engine
from cloister.vault.question import prepare
from cloister.vault.sampler import Teaching

TRUTH = {"age": 3.0, "smoker": 120.0, "region=south": 80.0, "region=east": 0.0, "region=west": 160.0, "bmi": 6.0}


def rows() -> pd.DataFrame:
    """Return the rows the vault holds, as an ordinary DataFrame."""
    return _rows().copy()


@functools.cache
def _rows() -> pd.DataFrame:
    frame = world.reference(world.VISITS)
    rng = np.random.default_rng(7)
    region = frame.region.astype(object)
    cost = 200 + TRUTH["age"] * frame.age + TRUTH["smoker"] * frame.smoker + TRUTH["bmi"] * frame.bmi.fillna(35)
    cost += 80.0 * (region == "south") + 160.0 * (region == "west") + rng.normal(0, 100, len(frame))
    frame["cost"] = cost.round().clip(0, 2000).astype("int64")
    return frame


class Clinic(world.Vault):
    """A vault over ``rows()``. ``seed``: its noise repeats, and the same question is drawn anew each time."""

    def __init__(self, *, noise: bool, mode: str = "mock", epsilon: str = "8", seed: int | None = None) -> None:
        super().__init__(noise=noise, mode=mode, epsilon=epsilon)
        self._engine = Engine(1)
        schema = world.table(world.VISITS).schema
        held = rows().astype({"region": str, "sex": str})
        held["date"] = held.date.dt.date
        for name, card in world.CARDS.items():
            table = (
                pa.Table.from_pandas(held, schema, preserve_index=False) if card is world.VISITS else world.table(card)
            )
            self._engine.load(name, card, table, bytes(32))
        self._sampler = None if seed is None else Teaching(seed)
        self._exact: dict[str, Any] = {}

    def _release(self, plan: Any) -> dict[str, Any]:
        if self._sampler is None:
            return super()._release(plan)
        # One plan is asked a thousand times: what does not depend on the noise is kept.
        name = json.dumps(plan, sort_keys=True)
        if name not in self._exact:
            question = prepare(plan, self.context, self.terms)
            exact = self._engine.run(question.analysis)
            self._exact[name] = question, exact.values, exact.widths
        question, values, widths = self._exact[name]
        each = [sigma for width, sigma in zip(widths, question.price.sigmas, strict=True) for _ in range(width)]
        sigmas = each * (len(values) // len(each))
        noisy = list(values)
        for sigma in dict.fromkeys(sigmas):
            places = [place for place, other in enumerate(sigmas) if other == sigma]
            for place, value in zip(places, self._sampler.add([values[place] for place in places], sigma), strict=True):
                noisy[place] = value
        return describe.rehearsal(question, noisy, self.terms)


def visits(**options: Any) -> tuple[cl.Frame, Clinic]:
    """Return the handle of a clinic of its own, and its vault."""
    vault = Clinic(**options)
    session = Session(vault)
    sessions.use(session)
    return cl.Frame.of_table(session, "clinic.visits"), vault
