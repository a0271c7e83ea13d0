"""A network trained with ArcFace and judged by the nearest neighbours of its embeddings."""

from typing import cast

import torch
from pytorch_lightning import LightningModule
from pytorch_metric_learning.losses import ArcFaceLoss
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from src.datamodules.components.image_set import Sample
from src.metrics import NearestNeighborAccuracy
from src.metrics.functional.search import Distance
from src.models.components.backbone import build_backbone

_QUERY_LOADER = 1


class MetricLearningModule(LightningModule):
    """Backbone, linear embedder and ArcFace classifier.

    ArcFace is Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR
    2019. Its class weights serve training alone; the test compares embeddings with embeddings.

    Args:
        num_classes: number of training identities.
        embedding_size: width D of the embeddings.
        lr: learning rate of SGD with Nesterov momentum 0.9.
        wd: weight decay of SGD.
        backbone: name of a network in `torchvision.models`; its weights are random until a
            checkpoint is loaded.
        distance: that of `test/acc`, "cosine" or "euclidean".

    Raises:
        ValueError: if torchvision has no such backbone, or the distance is another.
    """

    def __init__(
        self,
        num_classes: int = 751,
        embedding_size: int = 256,
        lr: float = 0.05,
        wd: float = 5e-4,
        backbone: str = "resnet18",
        distance: Distance = "cosine",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone, features = build_backbone(backbone)
        self.embedder = nn.Linear(features, embedding_size)
        self.arcface = ArcFaceLoss(num_classes, embedding_size)
        self.train_acc = MulticlassAccuracy(num_classes, average="micro")
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_metrics = MetricCollection(
            {
                "acc": NearestNeighborAccuracy(distance=distance),
                "acc_euclidean": NearestNeighborAccuracy(distance="euclidean"),
            },
            prefix="test/",
            compute_groups=[["acc", "acc_euclidean"]],
        )

    def forward(self, image: Tensor) -> Tensor:
        """Embed images.

        Args:
            image: float tensor [B, 3, 128, 64] with values in [0, 1].

        Returns:
            Embeddings [B, D], not normalised.
        """
        embeddings: Tensor = self.embedder(self.backbone(image))
        return embeddings

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """ArcFace loss of a batch."""
        loss, logits = self._classify(batch)
        self.train_acc(logits, batch.label)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """ArcFace loss and accuracy of a batch of training identities."""
        loss, logits = self._classify(batch)
        self.val_acc(logits, batch.label)
        self.log("val/loss", loss, prog_bar=True)
        self.log("val/acc", self.val_acc, prog_bar=True)

    def on_test_epoch_start(self) -> None:
        """Start from an empty metric, however the processes came to life."""
        self.test_metrics.reset()

    def test_step(self, batch: Sample, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add a batch of references (dataloader 0) or queries (dataloader 1)."""
        self.test_metrics.update(
            self(batch.image),
            batch.label,
            is_query=dataloader_idx == _QUERY_LOADER,
            indices=batch.index,
            cameras=batch.camera,
        )

    def on_test_epoch_end(self) -> None:
        """Log the accuracies, and the number of queries that they are shares of."""
        self.log_dict(self.test_metrics.compute())
        correct = cast(NearestNeighborAccuracy, self.test_metrics.acc).correct
        assert correct is not None
        self.log("test/queries", float(correct.numel()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with Nesterov momentum over all weights, those of ArcFace included."""
        return torch.optim.SGD(
            self.parameters(),
            lr=self.hparams["lr"],
            momentum=0.9,
            weight_decay=self.hparams["wd"],
            nesterov=True,
        )

    def _classify(self, batch: Sample) -> tuple[Tensor, Tensor]:
        embeddings = self(batch.image)
        return self.arcface(embeddings, batch.label), self.arcface.get_logits(embeddings)
