"""The error tree: every error says what happened and what to do, and survives the wire."""

from __future__ import annotations

import pytest

from cloister import errors

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.CloisterError)
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_without_a_next_step_of_its_own_has_that_of_its_class(cls):
    error = cls("area.reason", "what happened")
    assert error.next_step
    assert "next step" in str(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_errors_survive_the_wire(cls):
    error = cls("area.reason", "what happened", clause="limits", next_step="wait", nearest=("a", "b"))
    back = errors.from_dict(error.to_dict())
    assert type(back) is cls
    assert back.to_dict() == error.to_dict()


def test_kinds_are_unique():
    assert len({cls.kind for cls in CLASSES}) == len(CLASSES)


def test_nearest_forms_are_a_next_step():
    assert "nearest" in errors.PlanError("plan.x", "no", nearest=("v.count()",)).next_step


def test_unknown_kinds_become_the_root():
    assert type(errors.from_dict({"kind": "new", "code": "a.b", "reason": "r"})) is errors.CloisterError
