"""How a model leaves: as data. JSON that is closed and checked, scikit-learn with the same numbers, never a pickle."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import learn_world
import numpy as np
import pytest

import cloister.sandbox as cl
from cloister.errors import CloisterError, MalformedError, PlanError
from cloister.learn import LinearRegression
from cloister.sandbox import session as sessions
from cloister.wire import canonical

NAMES = ["age", "smoker", "region", "bmi"]


@pytest.fixture(scope="module")
def frame() -> Iterator[cl.Frame]:
    yield learn_world.visits(noise=True, mode="confidential", epsilon="100")[0]
    sessions.use(None)


@pytest.fixture(scope="module")
def model(frame: cl.Frame) -> LinearRegression:
    return LinearRegression(epsilon=20, missing="indicator").fit(frame[NAMES], frame.cost)


def test_scikit_learn_predicts_the_same(model: LinearRegression, frame: cl.Frame) -> None:
    from sklearn.linear_model import Ridge

    theirs = model.to_sklearn()
    assert type(theirs) is Ridge
    assert list(theirs.feature_names_in_) == list(model.get_feature_names_out())
    for seed in range(20):
        table = frame.mock(173, seed=seed)
        # Not bit by bit: the order in which a BLAS adds depends on the layout of the table in memory.
        np.testing.assert_allclose(theirs.predict(model.encode(table)), model.predict(table), rtol=1e-12)
    numbers = LinearRegression(epsilon=5).fit(frame[["age", "smoker"]], frame.cost)
    table = frame.mock(100)[["age", "smoker"]]
    # Without categories and gaps the features themselves do.
    np.testing.assert_allclose(numbers.to_sklearn().predict(table), numbers.predict(table), rtol=1e-12)
    assert theirs.alpha == model.alpha_


def test_json_goes_round(model: LinearRegression, frame: cl.Frame, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    model.save(path)
    loaded = LinearRegression.load(path)
    assert loaded.document == model.document
    assert loaded.to_json() == model.to_json()
    table = frame.mock(50)
    assert loaded.predict(table).tobytes() == model.predict(table).tobytes()
    assert loaded.predict(frame)._term == model.predict(frame)._term
    assert "region=west" in repr(loaded)
    assert str(loaded.model_card()) == str(model.model_card())
    with pytest.raises(PlanError, match=r"api\.learn\.loaded"):
        loaded.release  # noqa: B018


def test_json_says_where_the_numbers_come_from(model: LinearRegression) -> None:
    found = json.loads(model.to_json())
    facts = model.release
    assert (found["format"], found["version"], found["kind"]) == ("cloister.model", 2, "LinearRegression")
    assert found["provenance"]["receipt"] == canonical.digest(facts.receipt)
    assert found["provenance"]["plan"] == facts.plan_digest
    assert found["provenance"]["contract"].startswith("sha256:")
    assert found["privacy"]["rho"] == str(facts.rho)
    assert found["features"][0] == {
        "name": "age", "kind": "number", "low": "0", "high": "110", "step": "1", "levels": [], "fill": None,
        "edges": [],
    }  # fmt: skip
    assert found["features"][3]["fill"] == "35"
    assert found["training"]["missing"] == "indicator"
    digest = found.pop("digest")
    assert digest == canonical.digest(found)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(child, (*path, key))
    else:
        yield path


def changed(text: str, path: tuple[Any, ...]) -> str:
    found = json.loads(text)
    *way, last = path
    inner = found
    for key in way:
        inner = inner[key]
    old = inner[last]
    inner[last] = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int) else f"{old or ''}1"
    return json.dumps(found)


def test_every_altered_field_is_noticed(model: LinearRegression) -> None:
    text = model.to_json()
    paths = list(leaves(json.loads(text)))
    assert len(paths) > 60
    for path in paths:
        with pytest.raises(MalformedError) as caught:
            LinearRegression.from_json(changed(text, path))
        assert caught.value.code in {"model.altered", "model.malformed", "model.version"}, path


def sealed(text: str, change: dict[str, Any]) -> str:
    """The document of a forger, who knows how to compute a digest."""
    found = {**json.loads(text), **change}
    found.pop("digest", None)
    found = {name: value for name, value in found.items() if value is not ...}
    try:
        return json.dumps({**found, "digest": canonical.digest(found)})
    except MalformedError:
        return json.dumps({**found, "digest": ""})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"more": "1"}, "model.malformed"),
        ({"reliable": ...}, "model.malformed"),
        ({"reliable": 1}, "model.malformed"),
        ({"mode": "real"}, "model.malformed"),
        ({"coefficients": []}, "model.malformed"),
        ({"coefficients": [{"name": "age", "value": "1", "stderr": "1", "sampling": "1"}]}, "model.malformed"),
        ({"intercept": {"name": "intercept", "value": "1e5", "stderr": "1", "sampling": "1"}}, "model.malformed"),
        ({"intercept": {"name": "intercept", "value": "1/0", "stderr": "1", "sampling": "1"}}, "model.malformed"),
        ({"intercept": {"name": "intercept", "value": "1", "stderr": "nan", "sampling": "1"}}, "model.malformed"),
        ({"intercept": {"name": "intercept", "value": "1", "stderr": "-1", "sampling": "1"}}, "model.malformed"),
        ({"intercept": {"name": "intercept", "value": 1.5, "stderr": "1", "sampling": "1"}}, "model.malformed"),
        ({"features": []}, "model.malformed"),
        ({"target": {"name": "cost", "low": "3", "high": "2"}}, "model.malformed"),
        ({"version": 1}, "model.version"),
        ({"kind": "LogisticRegression"}, "model.malformed"),
        ({"kind": "Forest"}, "model.version"),
        ({"notes": ...}, "model.malformed"),
        ({"algorithm": {"name": "x", "version": "1", "code": ""}}, "model.malformed"),
        ({"format": "other"}, "model.malformed"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_whatever_its_digest(model: LinearRegression, change: Any, code: str) -> None:
    with pytest.raises(MalformedError) as caught:
        LinearRegression.from_json(sealed(model.to_json(), change))
    assert caught.value.code == code
    assert caught.value.next_step


@pytest.mark.parametrize(
    "features",
    [
        {
            "name": "age",
            "kind": "number",
            "low": "9",
            "high": "1",
            "step": "1",
            "levels": [],
            "fill": None,
            "edges": [],
        },
        {
            "name": "age",
            "kind": "number",
            "low": "0",
            "high": "1",
            "step": "0",
            "levels": [],
            "fill": None,
            "edges": [],
        },
        {
            "name": "age",
            "kind": "number",
            "low": "0",
            "high": "1",
            "step": "1",
            "levels": ["a", "b"],
            "fill": None,
            "edges": [],
        },
        {"name": "age", "kind": "number", "low": "0", "high": "1", "step": "1", "levels": [], "fill": "x", "edges": []},
        {
            "name": "age",
            "kind": "category",
            "low": "0",
            "high": "1",
            "step": "1",
            "levels": ["a", "a"],
            "fill": None,
            "edges": [],
        },
        {
            "name": "age",
            "kind": "category",
            "low": "0",
            "high": "1",
            "step": "1",
            "levels": [],
            "fill": None,
            "edges": [],
        },
        {"name": "age", "kind": "date", "low": "0", "high": "1", "step": "1", "levels": [], "fill": None, "edges": []},
    ],
)
def test_features_that_make_no_sense_are_refused(model: LinearRegression, features: Any) -> None:
    line = {"name": "age", "value": "1", "stderr": "1", "sampling": "1"}
    with pytest.raises(MalformedError):
        LinearRegression.from_json(sealed(model.to_json(), {"features": [features], "coefficients": [line]}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        '"x"',
        "{}",
        b"\xff\xfe",
        "\ud800",
        "[" * 100_000,
        " " * (2**23 + 1),
        b"\x80\x04K\x01.",
    ],
)
def test_other_files_are_refused(text: str | bytes) -> None:
    with pytest.raises(MalformedError):
        LinearRegression.from_json(text)


def test_a_truncated_file_is_refused(model: LinearRegression, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(model.to_json()[:-20])
    with pytest.raises(MalformedError):
        LinearRegression.load(path)
    with pytest.raises(FileNotFoundError):
        LinearRegression.load(tmp_path / "nothing.json")


def test_a_model_is_never_pickled(model: LinearRegression, tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(CloisterError, match="JSON") as caught:
            pickle.dumps(model, protocol)
        assert 'model.save("model.json")' in caught.value.nearest
    with pytest.raises(CloisterError):
        joblib.dump(model, tmp_path / "model.joblib")
    # The exported scikit-learn model is theirs to keep as they like.
    again = pickle.loads(pickle.dumps(model.to_sklearn()))
    assert np.array_equal(again.coef_, model.coef_)
