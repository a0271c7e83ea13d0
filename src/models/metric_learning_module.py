"""A network trained with ArcFace and judged by the nearest neighbours of its embeddings."""

import math
import warnings
from typing import Any, Literal, get_args

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from src.datamodules.components.samples import Sample
from src.exact_retrieval import NearestNeighborAccuracy
from src.exact_retrieval.retrieval.retrieval import Vote
from src.exact_retrieval.search.scoring import Distance
from src.models.components.backbone import build_backbone
from src.models.retrieval_module import RetrievalModule, Runtime
from src.preprocessing import Preprocessing
from src.utils.imports import loaded_later

with loaded_later("scipy.stats"):
    from pytorch_metric_learning.losses import ArcFaceLoss

LearningRateSchedule = Literal["constant", "cosine"]


class MetricLearningModule(RetrievalModule):
    """Backbone, linear embedder and ArcFace classifier.

    ArcFace is Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR
    2019. Its class weights serve training alone; the test compares embeddings with embeddings.

    Args:
        num_classes: number C of training identities.
        embedding_size: width D of the embeddings.
        lr: learning rate of SGD with Nesterov momentum 0.9.
        wd: weight decay of SGD.
        backbone: name of a network in `torchvision.models`, or of timm's if that is installed; its
            weights are random until a checkpoint is loaded.
        distance: that of `test/acc` and `val/nn_acc`, "cosine", "euclidean" or
            "inner_product".
        k: number of references that vote for `test/knn_acc`.
        vote: how they vote, "majority", or under cosine "weighted".
        margin: ArcFace's angular margin in degrees.
        scale: ArcFace's scale of the cosines.
        warmup_epochs: number of epochs in which the learning rate rises linearly to `lr`.
        lr_schedule: "constant" or "cosine" (down to zero at the last epoch), after the warm-up.
        flip: as for `RetrievalModule`.
        runtime: likewise.

    Raises:
        ValueError: if there is no such backbone, or the distance or schedule is another.
    """

    preprocessing: Preprocessing = Preprocessing()

    def __init__(
        self,
        num_classes: int = 751,
        embedding_size: int = 256,
        lr: float = 0.05,
        wd: float = 5e-4,
        backbone: str = "resnet18",
        distance: Distance = "cosine",
        k: int = 5,
        vote: Vote = "majority",
        margin: float = 28.6,
        scale: float = 64,
        warmup_epochs: int = 0,
        lr_schedule: LearningRateSchedule = "constant",
        flip: bool = False,
        runtime: Runtime = "torch",
    ) -> None:
        super().__init__(distance=distance, k=k, vote=vote, flip=flip, runtime=runtime)
        if lr_schedule not in get_args(LearningRateSchedule):
            raise ValueError(
                f"`lr_schedule` should be one of {get_args(LearningRateSchedule)}, "
                f"got {lr_schedule!r}"
            )
        self.save_hyperparameters()
        self.backbone, features = build_backbone(backbone)
        self.embedder = nn.Linear(features, embedding_size)
        self.arcface = ArcFaceLoss(num_classes, embedding_size, margin=margin, scale=scale)
        self.train_acc = MulticlassAccuracy(num_classes, average="micro")
        self.val_loss = MeanMetric()
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.val_acc_best = 0.0
        self.val_nn_acc = NearestNeighborAccuracy(distance=distance, leave_one_out=True)

    @property
    def architecture(self) -> dict[str, str | int]:
        """What the network is: its backbone, the width of its embeddings and its classes."""
        return {name: self.hparams[name] for name in ("backbone", "embedding_size", "num_classes")}

    def forward(self, image: Tensor) -> Tensor:
        """Embed images.

        Args:
            image: float tensor [B, 3, H, W].

        Returns:
            Embeddings [B, D], not normalised.
        """
        embeddings: Tensor = self.embedder(self.backbone(image))
        return embeddings

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """ArcFace loss of a batch.

        Raises:
            ValueError: if it is not finite.
        """
        loss, logits = self._classify(self(batch.image), batch.label)
        if not loss.isfinite():
            raise ValueError(
                f"`model.lr` should be smaller than {self.hparams['lr']:g}: the loss is {loss:g} "
                f"in epoch {self.current_epoch}, step {self.global_step}"
            )
        self.train_acc(logits, batch.label)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start from empty metrics, however the processes came to life."""
        for metric in (self.val_loss, self.val_acc, self.val_nn_acc):
            metric.reset()

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Judge training identities by their class, others by their nearest neighbours."""
        embeddings = self(batch.image)
        known = batch.label < self.hparams["num_classes"]
        if known.any():
            loss, logits = self._classify(embeddings[known], batch.label[known])
            self.val_loss.update(loss, weight=int(known.sum()))
            self.val_acc.update(logits, batch.label[known])
        if not known.all():
            self.val_nn_acc.update(
                embeddings[~known], batch.label[~known], indices=batch.index[~known]
            )

    def on_validation_epoch_end(self) -> None:
        """Log what `val` tells; every process takes part, whatever its share holds."""
        if self.trainer.sanity_checking:
            return
        if self._came_anywhere(self.val_nn_acc):
            self.log("val/nn_acc", self._compute(self.val_nn_acc), prog_bar=True)
        if self._came_anywhere(self.val_acc):
            accuracy = self._compute(self.val_acc)
            self.val_acc_best = max(self.val_acc_best, accuracy.item())
            self.log("val/loss", self._compute(self.val_loss), prog_bar=True)
            self.log("val/acc", accuracy, prog_bar=True)
            self.log("val/acc_best", self.val_acc_best, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the best accuracy for a resumed training, and the preprocessing."""
        checkpoint["val_acc_best"] = self.val_acc_best
        checkpoint["preprocessing"] = self.preprocessing.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the best accuracy so far."""
        self.val_acc_best = checkpoint.get("val_acc_best", 0.0)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """SGD with Nesterov momentum over all weights, those of ArcFace included.

        Raises:
            ValueError: if the learning rate should fall until the end of a training without one.
        """
        if self.hparams["lr_schedule"] == "cosine" and self.trainer.max_epochs == -1:
            raise ValueError("`lr_schedule` cosine needs trainer.max_epochs, got -1 or null")
        optimizer = torch.optim.SGD(
            self.parameters(),
            lr=self.hparams["lr"],
            momentum=0.9,
            weight_decay=self.hparams["wd"],
            nesterov=True,
        )
        schedule = LambdaLR(optimizer, self._relative_lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "name": "train/lr"}}

    def _relative_lr(self, epoch: int) -> float:
        warmup_epochs: int = self.hparams["warmup_epochs"]
        if epoch < warmup_epochs:
            return (epoch + 1) / (warmup_epochs + 1)
        if self.hparams["lr_schedule"] == "constant":
            return 1.0
        epochs = self.trainer.max_epochs
        assert epochs is not None
        progress = (epoch - warmup_epochs) / max(epochs - warmup_epochs, 1)
        return (1 + math.cos(math.pi * progress)) / 2

    def _came_anywhere(self, metric: Metric) -> bool:
        """Whether any process has updated the metric."""
        updated = metric.update_called
        return self.trainer.strategy.reduce_boolean_decision(updated, all=False)

    def _compute(self, metric: Metric) -> Tensor:
        """Compute a metric that some processes may not have updated."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")
            value: Tensor = metric.compute()
        return value

    def _classify(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.arcface(embeddings, labels), self.arcface.get_logits(embeddings)
