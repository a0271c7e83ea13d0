import torch

from src.exact_retrieval.search.copies import first_copies


def test_only_the_first_k_copies_stay() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    assert first_copies(rows, None, 1).tolist() == [0, 1]
    assert first_copies(rows, None, 3).tolist() == [0, 1, 2, 3, 4]


def test_copies_in_two_groups_serve_every_query() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    assert first_copies(rows, torch.tensor([0, 0, 1, 2, 0]), 1).tolist() == [0, 1, 2]
