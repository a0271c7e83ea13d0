"""An evaluation in plain torch, which `benchmarks.throughput` runs for comparison.

It is what one writes without this project: Pillow, a DataLoader, a loop, one matrix of
similarities, and accuracy, CMC and mAP from its ranks. When the first and the last batch were
embedded, and the accuracy, go to a JSON file:

    python -m benchmarks.plain_evaluation <checkpoint> <data> <JSON file> <device>
"""

import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

from src.models.metric_learning_module import MetricLearningModule


class Folder(Dataset[tuple[Tensor, int, int]]):
    """The images of a set in the prepared layout, with identity and camera."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        path = self.paths[index]
        camera = int(path.name.split("_c")[1][0])
        return to_tensor(Image.open(path).convert("RGB")), int(path.parent.name), camera


def main(checkpoint_file: str, data_dir: str, record: str, device: str = "cpu") -> None:
    """Embed both sets, and score them."""
    checkpoint = torch.load(checkpoint_file, map_location="cpu", weights_only=True)
    network = MetricLearningModule(**checkpoint["hyper_parameters"])
    network.load_state_dict(checkpoint["state_dict"])
    network.eval().to(device)
    times: list[float] = []
    columns = []
    with torch.inference_mode():
        for name in ("reference", "query"):
            batches = []
            for images, labels, cameras in DataLoader(Folder(Path(data_dir, name)), batch_size=32):
                batches.append((network(images.to(device)).cpu(), labels, cameras))
                times.append(time.time())
            columns += [torch.cat(column) for column in zip(*batches, strict=True)]
    accuracy, cmc, mean_ap = score(*columns)
    print(f"acc {accuracy:.5f}, rank1 {cmc[0]:.5f}, rank10 {cmc[9]:.5f}, mAP {mean_ap:.5f}")
    result = {"first": times[0], "last": times[-1], "accuracy": accuracy}
    Path(record).write_text(json.dumps(result))


def score(
    reference: Tensor,
    labels: Tensor,
    cameras: Tensor,
    query: Tensor,
    query_labels: Tensor,
    query_cameras: Tensor,
) -> tuple[float, list[float], float]:
    """Return 1-NN accuracy over all references; CMC and mAP across cameras."""
    similarity = torch.nn.functional.normalize(query) @ torch.nn.functional.normalize(reference).T
    accuracy = (labels[similarity.argmax(1)] == query_labels).float().mean()
    same = labels == query_labels[:, None]
    similarity[same & (cameras == query_cameras[:, None])] = -torch.inf
    kept = similarity.isfinite()
    order = similarity.argsort(dim=1, descending=True)
    matches = (same & kept).gather(1, order)
    matches = matches[matches.any(1)]
    ranks = torch.arange(1, matches.shape[1] + 1)
    precision = matches.cumsum(1) / ranks
    average = (precision * matches).sum(1) / matches.sum(1)
    cmc = matches.cumsum(1).clamp(max=1).float().mean(0)
    return accuracy.item(), cmc[:10].tolist(), average.mean().item()


if __name__ == "__main__":
    main(*sys.argv[1:])
