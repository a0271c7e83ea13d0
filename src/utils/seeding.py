"""Seeds for many independent uses, all from the one seed of a run."""

import numpy as np


def derive_seed(seed: int, *key: int) -> int:
    """Return a seed of 64 bits that depends on all integers given, none of them negative.

    Args:
        seed: of the run.
        key: what the derived seed is for, such as a step and a rank.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return int(sequence.generate_state(1, np.uint64)[0])
