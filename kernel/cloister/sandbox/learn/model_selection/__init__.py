"""Splits without a person in common, folds and search: ``from cloister.learn import model_selection``."""

from __future__ import annotations

from cloister.sandbox.learn.model_selection.search import CrossValidation, Search, cross_validate, search
from cloister.sandbox.learn.model_selection.splits import KFold, train_test_split

__all__ = ["CrossValidation", "KFold", "Search", "cross_validate", "search", "train_test_split"]
