"""What random numbers are drawn for: each purpose its own numbers, the same ones for ever."""

import numpy as np
import pytest

from cxrobust.analysis.purposes import Purpose

NUMBERS = {"RESAMPLES": 1, "PERMUTATIONS": 2, "REPLICATES": 3, "SIMULATIONS": 4, "FOLDS": 5, "VALIDATION": 6}


@pytest.mark.parametrize("seed", [0, 2026])
def test_a_purpose_draws_what_its_seed_and_number_give_numpy(seed):
    drawn = {purpose.name: purpose.generator(seed).random(3).tolist() for purpose in Purpose}
    assert drawn == {name: np.random.default_rng([seed, number]).random(3).tolist() for name, number in NUMBERS.items()}
    assert len({draws[0] for draws in drawn.values()}) == len(NUMBERS)
