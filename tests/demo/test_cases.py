"""The cases: tables of the promised shapes, and an effect that only joint data show; without it they tie."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from cloister.analyst.dial import EnclaveSession
from cloister.contract import lint, signing
from cloister.contract.card import Card
from cloister.demo import cases, parties
from cloister.demo.cases import carbon, ckd, credit, curves, fraud, ocean
from cloister.demo.scene import Scene
from cloister.errors import RefusedError, UnavailableError
from cloister.provider.home import BrokerHome

DAYS = 150
"""Of the ocean: the shape is the same on fewer days."""
SCENES = [cases.scene(name) for name in cases.NAMES]
ROWS = {
    "credit": [20_000, 24_000], "ckd": [60_000, 50_000, 40_000, 30_000, 20_000], "fraud": [100_000, 100_000],
    "ocean": [295 * 1_826, 400 * 1_096, 24 * 1_826], "carbon": [286, 286, 286],
}  # fmt: skip
DIGESTS = {
    ("credit", 1.0): "81d6627cc254e8b2", ("credit", 0.0): "d58dde9e2ca42813",
    ("ckd", 1.0): "d7382601c3236136", ("ckd", 0.0): "c0df435315f2ba26",
    ("fraud", 1.0): "8de7d6af8b1b7e0a", ("fraud", 0.0): "adf6aed9893675dd",
    ("ocean", 1.0): "f1b579fee715f1e1", ("ocean", 0.0): "cc27bd31a66e78bf",
    ("carbon", 1.0): "5a3973969d63b05a", ("carbon", 0.0): "23bc6cc33fae18f4",
}  # fmt: skip


def tables(scene: Scene) -> list[tuple[Card, pd.DataFrame]]:
    """Return every table of a scene, of fewer days where there are days."""
    days = {"days": DAYS} if scene.name == "ocean" else {}
    return [(card, partial(scene.tables[card.name], **days)()) for card in scene.cards]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_sizes_and_cards(scene: Scene) -> None:
    found = tables(scene)
    if scene.name != "ocean":
        assert [len(frame) for _, frame in found] == ROWS[scene.name]
    else:
        assert sum(ROWS["ocean"]) == pytest.approx(1_000_000, rel=0.03)
        assert len(found[0][1]) == ocean.STATIONS * DAYS
    for (card, frame), rows in zip(found, ROWS[scene.name], strict=True):
        assert not lint.errors_of(lint.card_findings(card)), card.name
        assert list(frame.columns) == [column.name for column in card.columns]
        assert card.row_limit > rows
        assert card.row_limit & (card.row_limit - 1) == 0, "a size class, not a size"
        assert not frame[list(card.key)].duplicated().any()
        for column in card.columns:
            values = frame[column.name]
            assert column.nullable or values.notna().all(), column.name
            if column.domain is not None:
                assert set(values) <= set(column.domain)
            if column.type in ("int", "decimal") and column.low and column.high and column.step:
                steps = (values.dropna() - float(Fraction(column.low))) / float(Fraction(column.step))
                assert steps.between(
                    -1e-6, float((Fraction(column.high) - Fraction(column.low)) / Fraction(column.step)) + 1e-6
                ).all()
                assert np.abs(steps - steps.round()).max() < 1e-6, column.name


def test_generators_are_seeded() -> None:
    pd.testing.assert_frame_equal(carbon.truth(), carbon.truth(1.0))
    assert not carbon.truth().equals(carbon.truth(seed=1))
    assert not credit.bank().equals(credit.bank(seed=1))


def digest(frame: pd.DataFrame) -> str:
    """Return the digest of a table's values: floats as the decimals a reader sees."""
    text = frame.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("effect", [1.0, 0.0])
@pytest.mark.parametrize("name", cases.NAMES)
def test_tables_are_the_same_on_every_machine(name: str, effect: float) -> None:
    """NumPy promises no stream for ever: where another version draws other tables, texts and outputs are void."""
    found = [digest(frame.iloc[::20]) for _, frame in tables(cases.scene(name, effect))]
    assert hashlib.sha256("".join(found).encode()).hexdigest()[:16] == DIGESTS[name, effect]


def test_nobody_is_real() -> None:
    """Keys are numbers of a generator: telephone numbers begin with 555, codes are a letter and six digits."""
    carrier, authority = fraud.both()
    assert {str(number)[:3] for frame in (carrier, authority) for number in frame.number} <= {"555", "556"}
    bank, platform = credit.both()
    assert bank.customer.str.fullmatch(r"C-\d{6}").all()
    assert platform.user.str.fullmatch(r"[Cc]-\d{6} ?").all()


def auc(train: pd.DataFrame, test: pd.DataFrame, features: Sequence[str], target: str) -> float:
    columns = list(features)
    first, second = train[columns].astype(float), test[columns].astype(float)
    low, width = first.min(), first.max() - first.min()
    scaled = [(part - low) / width for part in (first, second)]
    model = LogisticRegression(C=10, max_iter=200).fit(scaled[0], train[target])
    return float(roc_auc_score(test[target], model.decision_function(scaled[1])))


@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_credit(effect: float) -> None:
    bank, platform = credit.both(effect)
    assert (len(credit.BANK_FEATURES), len(credit.PLATFORM_FEATURES)) == (12, 15)
    assert bank.defaulted.mean() == pytest.approx(0.04, abs=0.001)
    joint = bank.assign(key=bank.customer.str.lower()).merge(platform.assign(key=platform.user.str.strip().str.lower()))
    assert len(joint) == credit.SHARED
    train, test = joint[::2], joint[1::2]
    single = auc(train, test, credit.BANK_FEATURES, "defaulted")
    both = auc(train, test, credit.BANK_FEATURES + credit.PLATFORM_FEATURES, "defaulted")
    assert single == pytest.approx(credit.BANK_AUC, abs=0.05)
    assert both - single >= 0.10 if effect else abs(both - single) < 0.03


@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_ckd(effect: float) -> None:
    hospitals = ckd.everybody(effect)
    whole = pd.concat(hospitals.values(), ignore_index=True)
    assert (len(hospitals), len(whole), whole.patient.is_unique) == (5, 200_000, True)
    assert whole.ckd.mean() == pytest.approx(0.0022, abs=0.00001)
    assert whole.lead_months.median() == pytest.approx(ckd.LEAD_MONTHS, abs=2)
    assert whole.lead_months.notna().equals(whole.ckd)
    parts = {name: (frame[::2], frame[1::2]) for name, frame in hospitals.items()}
    test = pd.concat(test for _, test in parts.values())
    joint = ranked(pd.concat(train for train, _ in parts.values()), test)
    single = [ranked(train, test) for train, _ in parts.values()]
    if effect:
        assert joint - max(single) > 0.10
    else:
        assert joint - min(single) < 0.01


def ranked(train: pd.DataFrame, test: pd.DataFrame) -> float:
    features = list(ckd.FEATURES)
    model = LinearRegression().fit(train[features], train.ckd)
    return float(roc_auc_score(test.ckd, model.predict(test[features])))


@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_fraud(effect: float) -> None:
    carrier, authority = fraud.both(effect)
    joint = carrier.merge(authority, on="number")
    lift = joint.confirmed.mean() - carrier.confirmed.mean()
    assert lift > 0.30 if effect else abs(lift) < 0.03
    assert 0.018 < authority.wanted.mean() < 0.022


@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_ocean(effect: float) -> None:
    found = ocean.everything(effect, days=DAYS)
    joint = found["stations"].merge(found["platforms"], on=["cell", "day"])
    assert len(joint) == ocean.NEAR * found["platforms"].day.nunique()
    assert (joint.sea_x == joint.sea_y).all()
    own = ["waves", "water_x", "salinity"]
    single, both = (
        LinearRegression().fit(joint[names], joint.waves_next).score(joint[names], joint.waves_next)
        for names in (own, [*own, "wind", "pressure"])
    )
    assert both - single > 0.4 if effect else both - single < 0.01
    following = found["stations"].set_index(["cell", "day"])
    assert following.waves_next.loc[7, 3] == following.waves.loc[7, 4]


@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_carbon(effect: float) -> None:
    whole = carbon.truth(effect)
    assert len(whole) == 286
    assert set(whole.rating) == set(carbon.RATINGS)
    right = (whole.rating == whole.rating_by_power).mean()
    assert right < 0.5 if effect else right == 1
    assert pd.crosstab(whole.kind, whole.rating).to_numpy().min() <= 2, "there are tiny groups"


def test_a_ranking_from_counts_is_that_of_the_scores() -> None:
    rng = np.random.default_rng(5)
    outcome = rng.random(4_000) < 0.2
    score = rng.integers(0, 30, 4_000) + 6 * outcome
    counts = pd.crosstab(score, outcome)
    found = curves.ranking(counts)
    assert found.auc == pytest.approx(roc_auc_score(outcome, score), abs=1e-12)
    assert found.low < found.auc < found.high < found.low + 0.06
    fpr, tpr, _ = roc_curve(outcome, score, drop_intermediate=False)
    assert found.ks == pytest.approx(np.max(tpr - fpr), abs=1e-12)
    np.testing.assert_allclose(curves.roc(counts).to_numpy(), np.column_stack([fpr, tpr]), atol=1e-12)


def test_a_case_is_a_world_of_its_own_with_a_broker_for_each_provider(tmp_path: Path) -> None:
    scene = cases.scene("fraud")
    scene = scene._replace(cards=tuple(msgspec.structs.replace(card, row_limit=64) for card in scene.cards))
    small = {name: partial(lambda make: make().head(50), make) for name, make in scene.tables.items()}
    world = parties.build_world(tmp_path, scene=scene, tables=small)
    assert world.root == tmp_path / "demo" / "cases" / "fraud" / "world"
    assert parties.load_world(tmp_path) is None, "the demo is another world"
    contract = signing.open_contract(
        world.contract_envelope(), now=signing.read_unverified(world.contract_envelope()).not_before
    )
    assert [broker.name for broker in contract.brokers] == ["carrier_broker", "authority_broker"]
    assert contract.outside == scene.exits
    assert contract.accept_simulated
    for broker, home in zip(contract.brokers, map(BrokerHome, world.brokers.values()), strict=True):
        assert home.identity().did == broker.did
        held = {terms.name for terms in contract.tables if home.data_keys.get(terms.manifest)}
        assert held == {terms.name for terms in contract.tables if terms.broker == broker.name}, "its own keys only"
    entry = parties.TrustStore(tmp_path / "trust").load("case-fraud")
    assert (entry.endpoint, entry.contract_digest) == ("demo:fraud", world.contract_digest)
    assert parties.build_world(tmp_path, scene=scene, tables=small) == world
    assert parties.reset(tmp_path, scene=scene, tables=small).contract_digest != world.contract_digest


def test_an_unknown_case_is_refused_with_those_there_are() -> None:
    with pytest.raises(RefusedError) as caught:
        cases.scene("../world")
    assert caught.value.code == "demo.case"
    assert caught.value.nearest == tuple(f"cloister demo case {name}" for name in cases.NAMES)


def test_a_kernel_of_an_unknown_case_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case starts with its first kernel; what it is called came from a kernelspec, and may be anything."""
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"there is no case '\.\./world'"):
        asyncio.run(
            EnclaveSession.open("case-../world", mode="confidential", store=parties.TrustStore(tmp_path / "trust"))
        )
    assert not list(tmp_path.rglob("pair.log"))
