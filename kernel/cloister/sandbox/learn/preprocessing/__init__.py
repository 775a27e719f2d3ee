"""Steps before a model as plan operations, and pipelines: ``from cloister.learn import preprocessing``."""

from __future__ import annotations

from cloister.sandbox.learn.preprocessing.pipeline import Pipeline, make_pipeline
from cloister.sandbox.learn.preprocessing.steps import Binner, Clip, Fill, MissingIndicator, OneHot, Scaler, Step
from cloister.sandbox.learn.preprocessing.woe import WoE, class_weights

__all__ = [
    "Binner",
    "Clip",
    "Fill",
    "MissingIndicator",
    "OneHot",
    "Pipeline",
    "Scaler",
    "Step",
    "WoE",
    "class_weights",
    "make_pipeline",
]
