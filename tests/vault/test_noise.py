"""The one noise function: on integers, from the operating system, with the exact distribution (G1, G10)."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys

import pytest
from noise_checks import check_draws, chi_square_p

from cloister.errors import FaultError
from cloister.vault.engine import Exact
from cloister.vault.noise import LIMIT, add_noise, gaussian
from cloister.vault.sampler import SEEDED_LABEL, Sampler, Teaching

SIGMAS = (0.4, 0.9, 2.5, 17.3)


def test_the_engine_noise_follows_the_pmf():
    check_draws(lambda size, sigma: gaussian([0] * size, sigma), 60_000, SIGMAS)


def test_the_oracle_sampler_follows_the_pmf():
    sampler = Sampler()
    check_draws(lambda size, sigma: sampler.add([0] * size, sigma), 8_000, SIGMAS)


def test_the_chi_square_test_can_fail():
    draws = [round(random.gauss(0, 0.9)) for _ in range(60_000)]
    assert chi_square_p(draws, 0.9) < 1e-6
    assert chi_square_p(gaussian([0] * 60_000, 2.6), 2.5) < 1e-6
    assert chi_square_p(gaussian([1] * 60_000, 17.3), 17.3) < 1e-6


def test_noise_is_integer_centred_and_independent_of_the_value():
    for value in (0, 1, -(2**40), 2**61, LIMIT):
        noisy = gaussian([value] * 400, 5.0)
        assert all(isinstance(number, int) for number in noisy)
        assert abs(sum(noisy) / 400 - value) < 5 * 5 / 20 + 1
    assert abs(gaussian([10**30], 1.0)[0] - LIMIT) < 20
    assert abs(gaussian([-(10**30)], 1.0)[0] + LIMIT) < 20


def test_every_component_gets_its_own_sigma_in_layout_order():
    exact = Exact(tuple([0, 0, 0, 0] * 3000), (1, 2, 1))
    noisy = add_noise(exact, (0.01, 40.0, 1000.0))
    spread = [math.sqrt(sum(x * x for x in noisy[offset::4]) / 3000) for offset in range(4)]
    assert spread[0] == 0
    assert spread[1] == pytest.approx(40, rel=0.1)
    assert spread[2] == pytest.approx(40, rel=0.1)
    assert spread[3] == pytest.approx(1000, rel=0.1)
    exact = Exact(tuple(range(100, 112)), (1, 2, 1))
    assert add_noise(exact, (0.01, 0.01, 0.01)) == list(range(100, 112))


def test_every_integer_of_a_component_gets_noise_of_its_own_in_its_place():
    """Components of several integers over several cells; scales so small that nothing moves, but in one of them."""
    values = tuple(range(24))
    assert add_noise(Exact(values, (3, 1, 2)), (0.01, 0.01, 0.01)) == list(values)
    noisy = add_noise(Exact((0,) * 400, (3, 1)), (1e9, 0.01))
    assert [value for index, value in enumerate(noisy) if index % 4 == 3] == [0] * 100
    assert len({value for index, value in enumerate(noisy) if index % 4 != 3}) > 290
    assert add_noise(Exact((), (3, 1)), (1.0, 1.0)) == []


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 2.0**51])
def test_a_scale_that_would_not_hide_anything_is_a_fault(sigma):
    with pytest.raises(FaultError):
        gaussian([1], sigma)


def test_shapes_that_disagree_are_a_fault():
    for exact, sigmas in ((Exact((1, 2), (1, 1)), (1.0,)), (Exact((1, 2, 3), (2,)), (1.0,))):
        with pytest.raises(FaultError):
            add_noise(exact, sigmas)


def test_noise_differs_between_processes_and_after_a_fork():
    first = gaussian([0] * 50, 1000.0)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, repr(gaussian([0] * 50, 1000.0)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    forked = os.read(reading, 100_000).decode()
    assert forked not in (repr(first), repr(gaussian([0] * 50, 1000.0)))
    assert forked.startswith("[")


def test_polars_is_never_imported():
    code = "import sys, cloister.vault.noise; print('polars' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_seeded_noise_is_repeatable_and_says_so():
    assert Teaching(7).add([0] * 20, 9.0) == Teaching(7).add([0] * 20, 9.0)
    assert Teaching(7).add([0] * 20, 9.0) != Teaching(8).add([0] * 20, 9.0)
    assert Teaching(7).label == SEEDED_LABEL
    assert Sampler().label == ""
    check_draws(lambda size, sigma: Teaching(1).add([0] * size, sigma), 4_000, (2.5,))
