"""What every coalition's linear model is worth, from released Gram matrices; Shapley values of that game.

Players are providers with rows of their own (one Gram each: a coalition's Gram is the sum of theirs) or blocks of
features (one joint Gram: a coalition's model has their columns). A coalition is worth the share of the target's
variance that its ridge regression explains on the rows of all, at least 0: whoever has a worse model predicts the mean.
The empty coalition predicts the mean and is worth 0. Nothing here sees data; the errors are those of the known noise.

Shapley value of a player: its mean marginal worth over all orders in which players can join (L. S. Shapley 1953). They
add up to the worth of all. Up to ``MOST_EXACT`` players every coalition is valued; beyond, those of sampled orders.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from cloister.sandbox.ridge import noise_level

MOST_EXACT = 12
MOST_PLAYERS = 32
MOST_EXPLAINED = 1 - 1e-6
_ORDERS = 128
_WORK = 60_000
_DRAWS = (24, 200)
_AT_ONCE = 512


@dataclasses.dataclass(frozen=True)
class Game:
    """The players and what is released of them.

    Attributes:
        matrices: ``sum z z'``, ``z = (1, x1, ..., xd, y)`` scaled: one per player, or one for all.
        stderr: Standard deviation of the noise of every entry.
        columns: Of one joint matrix, for each player which columns of z are his; empty if players have rows.
        log: Whether worth is ``-log(1 - R2) / 2``, the gain in Gaussian log-loss, in place of R2.
    """

    matrices: np.ndarray
    stderr: float
    columns: tuple[tuple[int, ...], ...] = ()
    log: bool = False

    @property
    def players(self) -> int:
        """How many there are."""
        return len(self.columns) or len(self.matrices)

    def worth(self, members: np.ndarray) -> np.ndarray:
        """Return the worth of coalitions, one per line of ``members`` (who is in it)."""
        parts = [self._worth(members[at : at + _AT_ONCE]) for at in range(0, len(members), _AT_ONCE)]
        return np.concatenate(parts)

    def noisy(self, rng: np.random.Generator) -> Game:
        """Return the game with the noise drawn once more on top."""
        drawn = np.triu(rng.normal(0.0, self.stderr, self.matrices.shape))
        return dataclasses.replace(self, matrices=self.matrices + drawn + np.transpose(np.triu(drawn, 1), (0, 2, 1)))

    def _worth(self, members: np.ndarray) -> np.ndarray:
        whole = self.matrices.sum(axis=0)
        size = len(whole) - 1
        if self.columns:
            kept = np.zeros((len(members), size), bool)
            kept[:, 0] = True
            for player, places in enumerate(self.columns):
                kept[:, list(places)] |= members[:, [player]]
            own, errors = np.broadcast_to(whole, (len(members), *whole.shape)), np.full(len(members), self.stderr)
        else:
            kept = np.ones((len(members), size), bool)
            own = np.tensordot(members.astype(float), self.matrices, axes=1)
            errors = self.stderr * np.sqrt(np.maximum(members.sum(axis=1), 1))
        levels = np.maximum(errors * np.sqrt(kept.sum(axis=1)), 1e-9)
        beta, optimism = _solved(own[:, :size, :size], own[:, :size, size], kept, levels, errors)
        left = np.concatenate([-beta, np.ones((len(beta), 1))], axis=1)
        rest = np.einsum("mi,ij,mj->m", left, whole, left) + optimism
        level = max(noise_level(self.stderr * math.sqrt(len(self.matrices)), len(whole)), 1e-9)
        rows = max(float(whole[0, 0]), level)
        mean = min(max(float(whole[0, -1]) / rows, -1.0), 1.0)
        total = max(float(whole[-1, -1]) - mean * mean * rows, level)
        explained = np.where(members.any(axis=1), np.clip(1 - np.maximum(rest, 0) / total, 0.0, MOST_EXPLAINED), 0.0)
        return np.asarray(-np.log1p(-explained) / 2 if self.log else explained)


def _solved(
    square: np.ndarray, right: np.ndarray, kept: np.ndarray, levels: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ridge coefficients of every coalition, and by how much its residuals look too small (``ridge``)."""
    both = kept[:, :, None] & kept[:, None, :]
    penalty = np.where(kept, levels[:, None], 1.0)
    penalty[:, 0] = 0.0
    values, vectors = np.linalg.eigh(square * both + penalty[:, :, None] * np.eye(square.shape[1]))
    inverse = (vectors / np.maximum(values, levels[:, None])[:, None, :]) @ np.transpose(vectors, (0, 2, 1))
    beta = np.where(kept, np.einsum("mij,mj->mi", inverse, right * kept), 0.0)
    diagonal = np.where(kept, np.einsum("mii->mi", inverse), 0.0)
    squares = (beta**2).sum(axis=1)
    traced = (1 + squares) * diagonal.sum(axis=1) + np.einsum("mi,mij,mj->m", beta, inverse, beta)
    return beta, 2 * errors**2 * (traced - (beta**2 * diagonal).sum(axis=1))


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Which coalitions are valued, and the Shapley values as sums of their worths.

    Attributes:
        members: One coalition per line; the first is empty, the last has all.
        weights: ``weights @ worth`` are the Shapley values.
        orders: Places of the growing coalitions of sampled orders with the player that joined; empty if exact.
    """

    members: np.ndarray
    weights: np.ndarray
    orders: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every coalition is valued."""
        return not self.orders

    def errors(self, worth: np.ndarray) -> np.ndarray:
        """Return the standard errors of sampling orders: 0 if exact."""
        if self.exact:
            return np.zeros(len(self.weights))
        found = np.empty((len(self.orders), len(self.weights)))
        for place, (order, at) in enumerate(self.orders):
            found[place, order] = np.diff(worth[at])
        pairs = (found[::2] + found[1::2]) / 2  # an order and its reverse
        return np.asarray(pairs.std(axis=0, ddof=1) / math.sqrt(len(pairs)))


def scheme(players: int, rng: np.random.Generator) -> Scheme:
    """Return every coalition of up to ``MOST_EXACT`` players, or those of sampled orders and their reverses."""
    if players <= MOST_EXACT:
        members = np.array(sorted(itertools.product((False, True), repeat=players), key=sum))
        sizes = members.sum(axis=1)
        chance = np.array([1 / (players * math.comb(players - 1, size)) for size in range(players)])
        joined = np.where(members, chance[np.maximum(sizes - 1, 0)][:, None], 0.0)
        before = np.where(members, 0.0, chance[np.minimum(sizes, players - 1)][:, None])
        return Scheme(members, (joined - before).T)
    known: dict[tuple[bool, ...], int] = {(False,) * players: 0}
    orders = []
    for _ in range(_ORDERS // 2):
        order = rng.permutation(players)
        for way in (order, order[::-1]):
            held, places = [False] * players, [0]
            for player in way:
                held[player] = True
                places.append(known.setdefault(tuple(held), len(known)))
            orders.append((way, np.array(places)))
    weights = np.zeros((players, len(known)))
    for order, at in orders:
        np.add.at(weights, (order, at[1:]), 1 / len(orders))
        np.add.at(weights, (order, at[:-1]), -1 / len(orders))
    return Scheme(np.array(list(known)), weights, tuple(orders))


@dataclasses.dataclass(frozen=True)
class Divided:
    """Shapley values and the worth of all, with 95 % intervals of the noise.

    Attributes:
        values: Shapley value of every player.
        total: The worth of all, which is their sum.
        alone: The worth of every player alone.
        low: Lower end of the interval of every value, the total last.
        high: Upper end.
        stderr: Standard error of every value by noise and sampled orders, the total last.
        sampling: Standard error of every value from sampling orders (0 if every coalition was valued).
        draws: How often the noise was drawn again.
    """

    values: np.ndarray
    total: float
    alone: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stderr: np.ndarray
    sampling: np.ndarray
    draws: int


def divide(game: Game, seed: Sequence[int]) -> Divided:
    """Return the Shapley values of a game; the same for the same game and seed.

    The intervals are of a parametric bootstrap (Efron and Tibshirani 1993, ch. 6 and 10): the noise, whose size is
    known, is drawn again on top of the released matrices; by how much this spreads the values and moves them to one
    side is taken for how far the first noise has moved them. They are about the values of the same ridge without noise.
    """
    rng = np.random.default_rng(list(seed))
    found = scheme(game.players, rng)

    def values(one: Game) -> tuple[np.ndarray, np.ndarray]:
        worth = one.worth(found.members)
        return worth, found.weights @ worth

    worth, shapley = values(game)
    total = float(shapley.sum())
    draws = int(min(max(_WORK // len(found.members), _DRAWS[0]), _DRAWS[1]))
    again = np.array([[*(drawn := values(game.noisy(rng))[1]), drawn.sum()] for _ in range(draws)])
    point = np.append(shapley, total)
    spread, sampling = again.std(axis=0, ddof=1), found.errors(worth)
    error = np.hypot(spread, np.append(sampling, 0.0))
    reach = float(stdtrit(draws - 1, 0.975)) * error + np.abs(again.mean(axis=0) - point)
    most = -math.log1p(-MOST_EXPLAINED) / 2 if game.log else 1.0
    least = np.append(np.full(game.players, -most), 0.0)
    alone = game.worth(np.eye(game.players, dtype=bool))
    return Divided(
        shapley,
        total,
        alone,
        np.maximum(point - reach, least),
        np.minimum(point + reach, most),
        error,
        sampling,
        draws,
    )
