"""What a model of each kind is in words: purpose, logic, what is known of how good it is, and its limits."""

from __future__ import annotations

from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.document import number as value_of
from cloister.sandbox.learn.features import columns
from cloister.sandbox.render import number

_EDGES = "Values outside the bounds of the data card were clipped before fitting; a prediction beyond them is "
_ASSOCIATIONS = "A model of associations in these rows: not causes, and not a statement about one person."
_CALIBRATED = "Its probabilities are as good as its assumptions; compare them with released rates before using them."
_TOGETHER = (
    "Weights of features that are strongly related (correlation above .9) say something together, not one by one: the "
    "steps of the fit end before they are told apart."
)
_LIMITS: dict[type[k.Head], tuple[str, ...]] = {
    k.LinearRegression: (
        "The intervals are those of the privacy noise, to first order, around the coefficients the same penalty gives "
        "without noise. A penalty pulls coefficients towards zero; nothing corrects for that.",
        _EDGES + "extrapolation.",
        "A linear model of associations in these rows: not causes, and not a statement about one person.",
    ),
    k.LogisticRegression: (_EDGES + "extrapolation.", _CALIBRATED, _TOGETHER, _ASSOCIATIONS),
    k.MultinomialLogistic: (_EDGES + "extrapolation.", _CALIBRATED, _TOGETHER, _ASSOCIATIONS),
    k.Additive: ("A step function says nothing about where within a bin a value lies.", _CALIBRATED, _ASSOCIATIONS),
    k.GaussianNB: (
        "Features are taken as independent and normal within each class; where they are not, probabilities are too "
        "sure of themselves.",
        _EDGES + "far from every mean.",
        _ASSOCIATIONS,
    ),
    k.CategoricalNB: (
        "Features are taken as independent within each class; where they are not, probabilities are too sure of "
        "themselves.",
        "Counts below the noise stand at the smoothing: a level nobody has looks like one that few have.",
        _ASSOCIATIONS,
    ),
    k.KMeans: (
        "There is no truth about clusters: other initial centres, scales or numbers of clusters give others.",
        "Centres are means of many rows, not rows.",
        _ASSOCIATIONS,
    ),
    k.PCA: (
        "Components are directions of large variance, not of meaning; close variances mix their components.",
        "Errors are those of the privacy noise, to first order.",
        _EDGES + "extrapolation.",
    ),
    k.Scorecard: (
        "Points are rounded to whole numbers; the model it was made from is more exact.",
        "Odds are those in the rows of the fit; elsewhere they need calibration.",
        _ASSOCIATIONS,
    ),
}


def purpose(model: k.Head) -> str:
    """Return what the model is for."""
    return {"KMeans": "finds groups of similar rows", "PCA": "describes rows by few directions"}.get(
        type(model).__name__, f"predicts {subject(model)}"
    )


def subject(model: k.Head) -> str:
    """Return what the model is about: its target, or its kind."""
    match model:
        case k.LinearRegression():
            return model.target.name
        case k.KMeans() | k.PCA():
            return f"{type(model).__name__} of {', '.join(feature.name for feature in model.features)}"
        case _:
            return classes(model).name


def classes(model: k.Head) -> k.Classes:
    """Return the classes of a classifier."""
    found: k.Classes = model.classes  # type: ignore[attr-defined]  # every other kind has them
    return found


def rows(model: k.Head) -> tuple[float, float]:
    """Return how many rows it was made from (noisy), and the standard error of that."""
    match model:
        case k.LinearRegression():
            return float(model.metrics.n), float(model.metrics.n_stderr)
        case k.GaussianNB() | k.CategoricalNB():
            parts: list[k.Weight] = [output.n for output in model.outputs]
        case k.KMeans():
            parts = [centre.n for centre in model.centres]
        case k.PCA() | k.Scorecard() | k.LogisticRegression() | k.MultinomialLogistic() | k.Additive():
            parts = [model.n]
        case _:
            parts = []
    error = sum(float(part.stderr or "0") ** 2 for part in parts) ** 0.5
    return sum(max(value_of(part.value), 0.0) for part in parts), error


def target(model: k.Head) -> list[str]:
    """Return what is predicted, in a line; nothing where nothing is."""
    match model:
        case k.LinearRegression():
            return [f"target {model.target.name}, {model.target.low} to {model.target.high}"]
        case k.KMeans() | k.PCA():
            return []
        case _:
            found = classes(model)
            kind = "a condition" if found.condition else ", ".join(found.labels)
            return [f"target {found.name}: {kind}"]


def logic(model: k.Head) -> list[str]:
    """Return how a prediction is made, in lines."""
    match model:
        case k.LinearRegression():
            ends = _range(model)
            return [
                f"ridge regression, penalty {float(model.training.parameters['alpha']):.4g} on features scaled to "
                "[-1, 1] by their public bounds; computed from one noisy Gram matrix",
                "prediction = intercept + sum of coefficient times column; "
                f"within the bounds: {ends[0]:,.4g} to {ends[1]:,.4g}",
            ]
        case k.LogisticRegression() | k.Additive():
            kind = "additive model" if isinstance(model, k.Additive) else "logistic regression"
            return [
                f"{kind}; fitted by noisy sums, each of them part of one release",
                f"log odds of {_event(model.classes)} = intercept + sum of weight times column",
            ]
        case k.MultinomialLogistic():
            return ["logistic regression of several classes: a score each, probabilities are their softmax"]
        case k.GaussianNB():
            return [
                "Gaussian naive Bayes: prior times one normal density per feature; computed from noisy counts, sums "
                "and squares per class"
            ]
        case k.CategoricalNB():
            return [
                "categorical naive Bayes: prior times one probability per feature; computed from noisy counts per "
                "class and level, in one vector"
            ]
        case k.KMeans():
            return [f"{len(model.centres)} centres; a row belongs to the nearest, after scaling by public bounds"]
        case k.PCA():
            return [f"{len(model.components)} principal components; computed from one noisy Gram matrix"]
        case k.Scorecard():
            return [
                f"score = {model.offset} + points of the features; {model.base} points are odds of {model.odds} to 1 "
                f"against {_event(model.classes)}, {model.pdo} points more double them",
                f"points were rounded to whole numbers: at most {value_of(model.rounding):.3g} points in a score",
                f"made from the model {model.source}",
            ]
    return []


def fit_line(model: k.Head) -> str:
    """Return how well it describes the rows it was made from, in a line."""
    n, error = rows(model)
    counted = f"about {n:,.0f} ± {number(error, error)} rows (privacy noise)" if error else f"about {n:,.0f} rows"
    match model:
        case k.LinearRegression():
            spread = float(model.metrics.r2_stderr)
            return (
                f"R2 {number(float(model.metrics.r2), spread)} ± {number(spread, spread)} (privacy noise); residuals "
                f"± {float(model.metrics.residual):.3g} {model.target.name}; "
                f"alpha {float(model.training.parameters['alpha']):.4g}"
            )
        case k.GaussianNB() | k.CategoricalNB():
            each = ", ".join(
                f"{output.label} {max(value_of(output.n.value), 0):,.0f} ± "
                f"{number(float(output.n.stderr), float(output.n.stderr))}"
                for output in model.outputs
            )
            return f"rows per class (privacy noise): {each}"
        case k.PCA():
            shares = ", ".join(f"{100 * float(component.share):.3g} %" for component in model.components)
            return f"{counted}; explained variance {shares}"
        case k.KMeans():
            sizes = ", ".join(f"{max(value_of(centre.n.value), 0):,.0f}" for centre in model.centres)
            return f"rows nearest to each centre: {sizes}"
    return counted


def limits(model: k.Head) -> tuple[str, ...]:
    """Return what the model cannot do."""
    return _LIMITS[type(model)]


def derived(model: k.Head) -> str:
    """Return how the numbers of the model follow from its release."""
    match model:
        case k.LinearRegression():
            alpha = float(model.training.parameters["alpha"])
            return f"ridge regression (alpha {alpha:.4g}) from one noisy Gram; errors to first order"
        case k.PCA():
            return "principal components of one noisy Gram; errors to first order"
        case _:
            return f"{type(model).__name__} from the noisy sums of one release"


def _event(found: k.Classes) -> str:
    return found.name if found.condition else f"{found.name} = {found.labels[1]}"


def _range(model: k.LinearRegression) -> tuple[float, float]:
    """Return between which values predictions lie while every feature is in its bounds."""
    low = high = value_of(model.intercept.value)
    groups: dict[str, list[float]] = {}
    for column, line in zip(columns(model.features), model.coefficients, strict=True):
        value = value_of(line.value)
        if column.role in {"level", "bin"}:
            groups.setdefault(column.feature.name, [0.0]).append(value)
            continue
        ends = (
            (0.0, 1.0) if column.role == "missing" else tuple(map(value_of, (column.feature.low, column.feature.high)))
        )
        low, high = low + min(value * end for end in ends), high + max(value * end for end in ends)
    return low + sum(map(min, groups.values())), high + sum(map(max, groups.values()))
