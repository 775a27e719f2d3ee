"""Every kind of model: the same predictions wherever it runs, a file that is checked, a card that says everything."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import kinds_world
import learn_world
import msgspec
import numpy as np
import onnxruntime
import pandas as pd
import pytest

import cloister.learn
import cloister.sandbox as cl
from cloister.contract import algorithms
from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.sandbox import session as sessions
from cloister.sandbox.column import Column
from cloister.sandbox.learn import document as docs
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.checks import blocks
from cloister.sandbox.learn.encoding import on_handle
from cloister.sandbox.learn.features import Feature, columns
from cloister.sandbox.learn.scoring import Scores, scores_of
from cloister.wire import canonical

KINDS = [
    "LinearRegression", "LogisticRegression", "MultinomialLogistic", "Additive", "GaussianNB", "GaussianNB of gaps",
    "CategoricalNB", "KMeans", "PCA", "Scorecard",
]  # fmt: skip
CLASSIFIERS = [name for name in KINDS if name not in {"LinearRegression", "KMeans", "PCA", "Scorecard"}]


@pytest.fixture(scope="module")
def frame() -> Iterator[cl.Frame]:
    yield learn_world.visits(noise=False, epsilon="1000")[0]
    sessions.use(None)


@pytest.fixture(scope="module")
def models(frame: cl.Frame) -> dict[str, Model[Any]]:
    found = kinds_world.every(frame)
    assert {type(model.document).__name__ for model in found.values()} == set(k.KINDS)
    return found


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, models: dict[str, Model[Any]]) -> Any:
    return models[request.param]


def numbers_of(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """What a model says of rows, as numbers that can be compared closely."""
    if hasattr(model, "predict_proba") and not isinstance(model.document, k.Scorecard):
        return np.asarray(model.predict_proba(rows))
    return np.asarray(model.transform(rows) if hasattr(model, "transform") else model.predict(rows), dtype=float)


def test_a_handle_and_a_table_predict_the_same_row_by_row(model: Any, frame: cl.Frame) -> None:
    document = model.document
    if isinstance(document, k.PCA):
        there = model.transform(frame)
        rows = frame.assign(**{name: there[name] for name in there}).mock(150)
        assert rows[list(there)].to_numpy() == pytest.approx(model.transform(rows), abs=1e-3)
        return
    predicted = model.predict(frame)
    rows = frame.assign(it=predicted).mock(150)
    here = pd.Series(model.predict(rows))
    if isinstance(document, k.LinearRegression):
        assert rows["it"].to_numpy(dtype=float) == pytest.approx(here.to_numpy(dtype=float), rel=1e-9)
    else:
        assert rows["it"].astype(object).where(rows["it"].notna(), None).tolist() == here.astype(object).tolist()
    assert here.nunique() >= 2, "a model that always says the same would agree with anything"
    if document.algorithm.name != "Scorecard" and hasattr(model, "predict_proba"):
        there = model.predict_proba(frame)
        rows = frame.assign(**{f"p{place}": there[name] for place, name in enumerate(there)}).mock(150)
        shown = rows[[f"p{place}" for place in range(len(model.classes_))]].to_numpy(dtype=float, na_value=np.nan)
        assert shown == pytest.approx(model.predict_proba(rows), abs=3e-5, nan_ok=True)


def test_scikit_learn_predicts_the_same(model: Any, frame: cl.Frame) -> None:
    rows = frame.mock(1_000).dropna()
    theirs = model.to_sklearn()
    given = model.codes(rows) if isinstance(model.document, k.CategoricalNB) else model.encode(rows)
    if hasattr(model, "transform"):
        assert theirs.transform(given) == pytest.approx(model.transform(rows), abs=1e-3)
        return
    same = theirs.predict(given) == model.predict(rows)
    if isinstance(model.document, k.LinearRegression | k.Scorecard):
        assert theirs.predict(given) == pytest.approx(model.predict(rows), rel=1e-9)
    else:
        assert np.all(same)
    if model.document.algorithm.name != "Scorecard" and hasattr(model, "predict_proba"):
        assert theirs.predict_proba(given) == pytest.approx(model.predict_proba(rows), abs=1e-4)
        assert list(theirs.classes_) == list(model.classes_)


def test_onnx_predicts_the_same_on_a_thousand_rows(model: Any, frame: cl.Frame, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = frame.mock(1_000)
    assert rows.bmi.isna().sum() > 20
    rows.loc[rows.index[:7], "region"] = np.nan
    rows.loc[rows.index[:5], "age"] = 300
    assert {one.name for one in session.get_inputs()} == {feature.name for feature in model.document.features}
    found = dict(
        zip([one.name for one in session.get_outputs()], session.run(None, kinds_world.feed(model, rows)), strict=True)
    )
    wanted = pd.Series(list(model.transform(rows) if hasattr(model, "transform") else model.predict(rows)))
    if "label" in found:
        known = wanted.notna().to_numpy()
        assert known.sum() > 900
        assert found["label"][known].tolist() == wanted[known].tolist()
        assert len(set(found["label"].tolist())) >= 2
    for name in {"probabilities", "prediction", "points", "components"} & set(found):
        assert found[name].dtype == np.float64
        assert found[name] == pytest.approx(numbers_of(model, rows), rel=1e-9, abs=1e-9, nan_ok=True), name
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["cloister.document"] == docs.digest(model.document) == json.loads(model.to_json())["digest"]
    assert (facts["cloister.kind"], facts["cloister.mode"]) == (type(model.document).__name__, "mock")


def test_without_the_package_onnx_the_refusal_names_the_extra(
    models: dict[str, Model[Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(RefusedError) as caught:
        models["PCA"].save(tmp_path / "x.onnx")
    assert caught.value.code == "install.extra"
    assert "cloister[onnx]" in caught.value.next_step
    assert not (tmp_path / "x.onnx").exists()


# The file ---------------------------------------------------------------------------------------------


def test_a_file_gives_the_same_model_back(model: Any, frame: cl.Frame, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    model.save(path)
    loaded = cloister.learn.load(path)
    assert loaded.document == model.document
    assert isinstance(model, type(loaded))
    assert loaded.to_json() == model.to_json()
    rows = frame.mock(50)
    np.testing.assert_array_equal(numbers_of(loaded, rows), numbers_of(model, rows))
    assert repr(loaded).splitlines()[1:3] == repr(model).splitlines()[1:3]
    assert str(loaded.model_card()) == str(model.model_card())
    with pytest.raises(CloisterError, match=r"api\.learn\.loaded"):
        loaded.release  # noqa: B018
    for other in (cloister.learn.LinearRegression, cloister.learn.PCA):
        if not isinstance(model, other):
            with pytest.raises(MalformedError, match=r"model\.kind"):
                other.load(path)
    with pytest.raises(CloisterError, match="JSON"):
        pickle.dumps(model)


def test_an_altered_file_is_refused(model: Any) -> None:
    text = model.to_json()
    for old, new in (('"unit": "patient"', '"unit": "visit"'), ('"reliable": true', '"reliable": false')):
        assert old in text
        with pytest.raises(MalformedError, match=r"model\.altered"):
            cloister.learn.load.__globals__["from_json"](text.replace(old, new))


def forged(fields: dict[str, Any]) -> str:
    """The document of a forger, who knows how to compute a digest."""
    fields = {name: value for name, value in fields.items() if name != "digest"}
    return json.dumps({**fields, "digest": canonical.digest(fields)})


def test_numbers_that_do_not_belong_to_the_features_are_refused_whatever_the_digest(model: Any) -> None:
    """Each row of numbers of each kind, one name changed."""
    found = json.loads(model.to_json())
    count = sum(1 for _ in blocks(model.document))
    changed = 0

    def walk(value: Any, way: str) -> Iterator[tuple[dict[str, Any], str]]:
        if isinstance(value, dict):
            for name, item in value.items():
                yield from walk(item, f"{way}.{name}")
        elif isinstance(value, list):
            if value and isinstance(value[0], dict) and way.rpartition(".")[2] in ROWS:
                yield value[0], way
            for item in value:
                yield from walk(item, way)

    for line, way in list(walk(found, "")):
        before = line["name"]
        line["name"] = "another"
        with pytest.raises(MalformedError, match="not those of the features"):
            docs.decode(forged(found))
        line["name"] = before
        changed += 1
        assert way
    assert changed == count > 0
    docs.decode(forged(found))


ROWS = {"coefficients", "weights", "means", "variances", "points", "centre"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("LogisticRegression", {"classes": {"name": "s", "labels": ["a", "b", "c"], "condition": False}}),
        ("LogisticRegression", {"classes": {"name": "s", "labels": ["no", "yes"], "condition": True}}),
        ("LogisticRegression", {"classes": {"name": "s", "labels": ["a", "a"], "condition": False}}),
        ("LogisticRegression", {"intercept": {"name": "intercept", "value": "1e5", "stderr": ""}}),
        ("LogisticRegression", {"intercept": {"name": "intercept", "value": "1", "stderr": "-1"}}),
        ("LogisticRegression", {"n": {"name": "rows", "value": "many", "stderr": ""}}),
        ("MultinomialLogistic", {"outputs": []}),
        ("MultinomialLogistic", {"classes": {"name": "s", "labels": ["a", "b", "c"], "condition": False}}),
        ("KMeans", {"scales": ["1"]}),
        ("KMeans", {"scales": ["0"] * 7}),
        ("KMeans", {"centres": []}),
        ("PCA", {"components": []}),
        ("Scorecard", {"odds": "0"}),
        ("Scorecard", {"pdo": "0"}),
        ("Scorecard", {"base": "x"}),
        ("Scorecard", {"offset": "1"}),
        ("GaussianNB", {"outputs": []}),
    ],
)
def test_what_a_kind_cannot_be_is_refused_whatever_the_digest(
    models: dict[str, Model[Any]], name: str, change: dict[str, Any]
) -> None:
    found = json.loads(models[name].to_json())
    docs.decode(forged(found))
    with pytest.raises(MalformedError, match=r"model\.malformed"):
        docs.decode(forged({**found, **change}))


@pytest.mark.parametrize("kind", [[], {}, None, 3, ["KMeans"]])
def test_a_kind_that_is_no_text_is_another_kind(models: dict[str, Model[Any]], kind: Any) -> None:
    found = json.loads(models["PCA"].to_json())
    with pytest.raises(MalformedError, match=r"model\.version"):
        docs.decode(forged({**found, "kind": kind}))


@pytest.mark.parametrize("name", ["LinearRegression", "CategoricalNB"])
@pytest.mark.parametrize("parameters", [{}, {"alpha": "many"}, {"alpha": "inf"}, {"alpha": "-1"}])
def test_parameters_a_model_needs_are_there(
    models: dict[str, Model[Any]], name: str, parameters: dict[str, str]
) -> None:
    found = json.loads(models[name].to_json())
    found["training"]["parameters"] = parameters
    with pytest.raises(MalformedError, match=r"model\.malformed"):
        docs.decode(forged(found))


def test_centres_have_the_numbers_that_are_predicted(models: dict[str, Model[Any]]) -> None:
    found = json.loads(models["KMeans"].to_json())
    for label in ("one", "1", "-1"):
        found["centres"][0]["label"] = label
        with pytest.raises(MalformedError, match="numbered from 0"):
            docs.decode(forged(found))


def test_a_file_that_could_not_be_read_again_is_not_written(
    model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = model.to_json()
    # ``save`` adds the end of a line.
    monkeypatch.setattr(docs, "MAX_BYTES", len(text.encode()) + 1)
    model.save(tmp_path / "model.json")
    docs.decode((tmp_path / "model.json").read_bytes())
    monkeypatch.setattr(docs, "MAX_BYTES", len(text.encode()))
    with pytest.raises(CloisterError, match=r"api\.learn\.size"):
        model.save(tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()


def test_a_loaded_model_has_the_smoothing_of_its_fit(frame: cl.Frame) -> None:
    fitted = cloister.learn.CategoricalNB(alpha=3, share=0.1).fit(frame[["sex", "smoker"]], frame.cost > 650)
    loaded = cloister.learn.CategoricalNB.from_json(fitted.to_json())
    assert loaded.to_sklearn().alpha == fitted.to_sklearn().alpha == 3


def test_a_gap_is_not_the_first_level(frame: cl.Frame, models: dict[str, Model[Any]]) -> None:
    rows = frame.mock(5).astype({"sex": object})
    rows.loc[rows.index[0], "sex"] = None
    codes = models["CategoricalNB"].codes(rows)
    assert codes.sex.iloc[0] == -1
    assert (codes.sex.iloc[1:] >= 0).all()


def test_a_variance_of_zero_is_no_model(models: dict[str, Model[Any]]) -> None:
    found = json.loads(models["GaussianNB"].to_json())
    found["outputs"][0]["variances"][0]["value"] = "0"
    with pytest.raises(MalformedError, match="variance"):
        docs.decode(forged(found))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "bins", "edges": ["0", "1"]},
        {"kind": "bins", "edges": ["0", "2", "1"]},
        {"kind": "bins", "edges": ["0", "1", "x"]},
        {"kind": "levels", "levels": ["a"]},
        {"kind": "number", "edges": ["0", "1", "2"]},
        {"kind": "flag", "levels": ["true", "false"]},
    ],
)
def test_features_that_make_no_sense_are_refused(models: dict[str, Model[Any]], change: dict[str, Any]) -> None:
    found = json.loads(models["LogisticRegression"].to_json())
    found["features"][0] = {**found["features"][0], "levels": [], "edges": [], **change}
    with pytest.raises(MalformedError, match=r"model\.malformed"):
        docs.decode(forged(found))


def test_a_model_has_at_most_1024_encoded_columns(models: dict[str, Model[Any]]) -> None:
    document = models["LogisticRegression"].document
    for many, message in ((1_025, "1 to 1024 encoded columns"), (1_024, "not those of the features")):
        edges = tuple(str(edge) for edge in range(many + 1))
        wide = msgspec.structs.replace(document, features=(Feature("x", "bins", edges=edges),))
        with pytest.raises(MalformedError, match=message):
            docs.decode(docs.encode(wide))
    twice = msgspec.structs.replace(document, features=(document.features[0],) * 2)
    with pytest.raises(MalformedError, match="of different names"):
        docs.decode(docs.encode(twice))


def test_points_belong_to_levels(models: dict[str, Model[Any]]) -> None:
    for name in ("Additive", "CategoricalNB", "Scorecard"):
        document = models[name].document
        number = msgspec.structs.replace(document.features[0], kind="number", levels=(), edges=())
        changed = msgspec.structs.replace(document, features=(number, *document.features[1:]))
        with pytest.raises(MalformedError, match="a number cannot be a feature"):
            docs.decode(docs.encode(changed))


# The card ---------------------------------------------------------------------------------------------


def test_the_card_says_purpose_data_logic_privacy_metrics_limits(model: Any) -> None:
    found = model.document.algorithm
    entry = algorithms.by_name(found.name)
    assert (f"{found.name}@{found.version}", found.code) == (entry.label, algorithms.code(entry))
    card = model.model_card()
    for shown in (str(card), card._repr_html_()):
        for word in (
            "Model card", "Purpose", "teaching", "Data", "Visits to a clinic", "at most 4 rows", "Features", "Logic",
            entry.label, found.code, "never as a pickle", "Privacy", "discrete Gaussian", "Metrics", "Limits",
            "Receipt", "mock", "MOCK",
        ):  # fmt: skip
            assert word in shown, word
        for feature in model.document.features:
            assert feature.name in shown
    assert "MOCK" in repr(model)
    assert "privacy noise" in model._repr_html_()
    assert len(model.table()) >= 3


def test_hostile_names_stay_text_in_every_kind(model: Any) -> None:
    bad = "<script>|`*_x"
    text = model.to_json().replace('"Visits to a clinic"', json.dumps(bad))
    hostile = docs.decode(forged(json.loads(text)))
    loaded = type(model).from_document(msgspec.structs.replace(hostile, notes=(bad,)))
    assert "<script>" not in loaded._repr_html_()
    assert "<script>" not in loaded.model_card()._repr_html_()
    assert "<script>" not in str(loaded.model_card()).replace("\\<script", "")


def test_scikit_learn_knows_classifiers_by_its_words(models: dict[str, Model[Any]]) -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.utils.validation import check_is_fitted

    for name in ("GaussianNB", "CategoricalNB"):
        check_is_fitted(models[name])
        assert is_classifier(models[name])
        fresh = clone(type(models[name])(share=0.1))
        assert fresh.get_params()["share"] == 0.1
        assert repr(fresh.set_params(missing="drop")) == f"{name}(share=0.1, missing='drop')"
        with pytest.raises(CloisterError, match=r"api\.learn\.parameter"):
            fresh.set_params(solver="x")


def test_a_model_of_many_columns_predicts_on_a_handle(frame: cl.Frame) -> None:
    """A sum of 300 terms in one chain would be nested deeper than a plan may be."""
    wide = Scores("number", ("x",), (Fraction(5),), ((Fraction(1, 10),) * 300,))
    (term,) = wide.on_terms([frame.age._term] * 300)
    mean = float(Column(frame._rows, term, "x").mean())
    assert mean == pytest.approx(5 + 30 * float(frame.age.mean()), rel=1e-3)


def _nodes(value: Any) -> int:
    if isinstance(value, tuple):
        return sum(map(_nodes, value))
    if not isinstance(value, msgspec.Struct):
        return 0
    return 1 + sum(_nodes(getattr(value, field)) for field in value.__struct_fields__)


def _stepped(models: dict[str, Model[Any]], values: tuple[str, ...], fill: str | None) -> Any:
    """An additive model of BMI in three bins, with these weights."""
    edges = ("10", "25", "30.5", "60")
    feature = Feature("bmi", "bins", edges=edges, fill=fill)
    names = [column.name for column in columns((feature,))]
    weights = tuple(k.Weight(name, value) for name, value in zip(names, values, strict=True))
    changed = msgspec.structs.replace(models["Additive"].document, features=(feature,), weights=weights)
    return cloister.learn.AdditiveClassifier.from_document(changed)


@pytest.mark.parametrize(
    ("values", "fill"),
    [
        (("1", "-0.5", "2"), None),
        (("1", "1", "1"), None),
        (("0", "0", "0"), None),
        (("1", "-0.5", "2", "0.25"), ""),
        (("1", "1", "1", "3"), ""),
    ],
)
def test_a_step_function_on_a_handle_is_that_of_its_bins(
    models: dict[str, Model[Any]], frame: cl.Frame, values: tuple[str, ...], fill: str | None
) -> None:
    stepped = _stepped(models, values, fill)
    rows = frame.assign(it=stepped.decision_function(frame)).mock(300)
    assert rows.bmi.isna().any()
    wanted = stepped.decision_function(rows)
    assert rows["it"].to_numpy(dtype=float, na_value=np.nan) == pytest.approx(wanted, nan_ok=True)
    assert np.isnan(wanted).any() == (fill is None)
    binned = scores_of(stepped.document).on_terms(list(on_handle(frame, stepped.document.features).values()))[0]
    if len(set(values)) > 2:
        assert _nodes(stepped.decision_function(frame)._term.scalar) < 0.7 * _nodes(binned.scalar)
