"""What the analysis draws random numbers for; each purpose has a generator of its own, so that none moves another."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Stands beside the study's seed in that of the generator: a purpose keeps its number, or its draws change."""

    RESAMPLES = 1
    """Resamples of patients."""
    PERMUTATIONS = 2
    """Sign flips and swaps of patients."""
    REPLICATES = 3
    """Which training runs each resample draws."""
    SIMULATIONS = 4
    """Simulated studies of `cxrobust power`."""
    FOLDS = 5
    """Of patients, to fit recalibrations on others."""
    VALIDATION = 6
    """Resamples of the patients of validation images."""

    def generator(self, seed: int) -> np.random.Generator:
        """Return the generator of this purpose in a study of this seed."""
        return np.random.default_rng([seed, int(self)])
