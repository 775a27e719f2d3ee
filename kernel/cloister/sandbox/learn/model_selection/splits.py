"""Parts of a handle and its target that share no unit."""

from __future__ import annotations

from typing import Any

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import stacking
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import asking
from cloister.sandbox.rows import same

MOST_FOLDS = 20
_SPLIT = "train_test_split(visits, visits.smoker, test_size=0.2)"
_FOLDS = "KFold(5).split(visits, visits.smoker)"


def part(X: Frame, y: Column, parts: int, take: range | tuple[int, ...], salt: str) -> tuple[Frame, Column]:  # noqa: N803
    """Return the rows of features and target whose units fall into some of ``parts`` parts."""
    rows = same(X._rows, y._rows)
    rows = rows.on(a.Split(rows.relation, parts, tuple(take), salt))
    return Frame(rows, dict(X._columns), X._order), Column(rows, y._term, y.name)


def train_test_split(
    X: Frame,  # noqa: N803 (scikit-learn's names)
    y: Column | None = None,
    *,
    test_size: float = 0.25,
    random_state: int | str = 0,
) -> Any:
    """Return training and test parts without a unit in common: all rows of a person are on one side. Free.

    Args:
        X: A handle.
        y: A target of the same rows, split alike; without it two handles are returned, with it four objects, in
            scikit-learn's order (X_train, X_test, y_train, y_test).
        test_size: Between 0 and 1, in per cent: about that share of the units is in the test part.
        random_state: Another one is another split. Tables of one contract are split alike.

    Raises:
        PlanError: Not handles of the same rows, or not a share between 0.01 and 0.99.
    """
    if y is None:
        return stacking.train_test_split(X, test_size=test_size, random_state=random_state)
    asking.check_handles(X, y, _SPLIT, what="train_test_split")
    tested = round(test_size * 100)
    if not 1 <= tested <= 99:
        raise PlanError(
            "api.split",
            "test_size is a share from 0.01 to 0.99",
            nearest=(_SPLIT,),
        )
    salt = stacking.salt_of(same(X._rows, y._rows).relation, random_state)
    (X_train, y_train), (X_test, y_test) = (  # noqa: N806
        part(X, y, 100, range(tested, 100), salt),
        part(X, y, 100, range(tested), salt),
    )
    return X_train, X_test, y_train, y_test


class KFold:
    """Folds that share no unit.

    Args:
        n_splits: How many, 2 to 20.
        random_state: Another one is another split.
    """

    def __init__(self, n_splits: int = 5, *, random_state: int | str = 0) -> None:
        if not isinstance(n_splits, int) or not 2 <= n_splits <= MOST_FOLDS:
            raise PlanError("api.learn.folds", f"2 to {MOST_FOLDS} folds", nearest=("KFold(5)",))
        self.n_splits = n_splits
        self.random_state = random_state

    def split(self, X: Frame, y: Column) -> Any:  # noqa: N803
        """Yield (X_train, X_test, y_train, y_test) for every fold. Free."""
        asking.check_handles(X, y, _FOLDS, what="KFold.split")
        salt = stacking.salt_of(same(X._rows, y._rows).relation, f"fold/{self.random_state}")
        for fold in range(self.n_splits):
            rest = tuple(other for other in range(self.n_splits) if other != fold)
            X_train, y_train = part(X, y, self.n_splits, rest, salt)  # noqa: N806
            X_test, y_test = part(X, y, self.n_splits, (fold,), salt)  # noqa: N806
            yield X_train, X_test, y_train, y_test
