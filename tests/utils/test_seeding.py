import torch

from src.utils.seeding import derive_seed


def test_every_part_of_the_key_counts() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (0,), (0, 0, 0), ()]
    seeds = {derive_seed(seed, *key) for seed in (0, 1, 2**32) for key in keys}
    assert len(seeds) == 3 * len(keys)
    assert derive_seed(1, 2, 3) == derive_seed(1, 2, 3)
    torch.Generator().manual_seed(max(seeds))
