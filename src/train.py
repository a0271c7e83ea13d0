"""The training of a network, from a configuration to checkpoints."""

from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from src.callbacks.lost_process import LostProcess
from src.datamodules.market_datamodule import MarketDataModule
from src.models.components.backbone import load_imagenet_weights
from src.models.metric_learning_module import MetricLearningModule
from src.report.console import print_recording, print_result, print_training
from src.report.run_folder import RunResult, write_result
from src.utils.checkpoint import load_weights, read_checkpoint
from src.utils.configuration import as_plain_dict
from src.utils.extras import apply_extras
from src.utils.launch import refuse_separate_processes
from src.utils.tracking import RunRecorder, describe_run

_INITIAL_WEIGHTS = ("imagenet", "random")
_NEEDED_TO_RESUME = ("optimizer_states", "lr_schedulers", "loops")


def train(cfg: DictConfig) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train a network with ArcFace on the identities of `train`, watching `val`.

    Args:
        cfg: configuration composed from `configs/train.yaml`.

    Returns:
        The last value of every metric, and the objects that were built: "cfg", "datamodule",
        "model", "callbacks", "logger", "trainer" and "recorder".

    Raises:
        FileNotFoundError: if the data, or the checkpoint to resume, is not where `cfg` says.
        ValueError: if one of them is not as it should be, or ImageNet weights cannot be had.
    """
    apply_extras(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule: MarketDataModule = instantiate(cfg.datamodule, seed=cfg.seed)
    for stage in ("fit", "test") if cfg.test else ("fit",):
        datamodule.setup(stage)
    if cfg.monitor is None:
        cfg.monitor = "val/nn_acc" if datamodule.val_has_unseen_identities else "val/acc"
    model: MetricLearningModule = instantiate(cfg.model, num_classes=datamodule.num_classes)
    _initialise(model, cfg)
    callbacks = [*instantiate(cfg.callbacks).values(), LostProcess()]
    is_first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    loggers = list(instantiate(cfg.logger).values()) if is_first else []
    trainer: Trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers or False)
    refuse_separate_processes(trainer)
    tags = describe_run(cfg, [datamodule.train_set, datamodule.val_set]) if is_first else {}
    with RunRecorder(loggers, as_plain_dict(cfg), tags) as recorder:
        trainer.fit(model, datamodule=datamodule, ckpt_path=cfg.ckpt_path, weights_only=True)
        metrics = dict(trainer.callback_metrics)
        if cfg.test:
            best = _best_checkpoint(trainer).best_model_path
            trainer.test(
                model, datamodule=datamodule, ckpt_path=best, verbose=False, weights_only=True
            )
            metrics |= trainer.callback_metrics
    if is_first:
        _report(cfg, trainer, datamodule, metrics, tags, recorder)
    return metrics, {
        "cfg": cfg,
        "datamodule": datamodule,
        "model": model,
        "callbacks": callbacks,
        "logger": loggers,
        "trainer": trainer,
        "recorder": recorder,
    }


def _initialise(model: MetricLearningModule, cfg: DictConfig) -> None:
    if cfg.initial_weights not in _INITIAL_WEIGHTS:
        raise ValueError(
            f"`initial_weights` should be one of {_INITIAL_WEIGHTS}, got {cfg.initial_weights!r}"
        )
    if cfg.ckpt_path is not None:
        checkpoint = read_checkpoint(cfg.ckpt_path)
        missing = [key for key in _NEEDED_TO_RESUME if key not in checkpoint]
        if missing:
            raise ValueError(f"{cfg.ckpt_path} cannot be resumed: it lacks {missing}")
        load_weights(model, checkpoint, cfg.ckpt_path)
    elif cfg.initial_weights == "imagenet":
        load_imagenet_weights(model.backbone, cfg.model.backbone)


def _report(
    cfg: DictConfig,
    trainer: Trainer,
    datamodule: MarketDataModule,
    metrics: dict[str, Tensor],
    tags: dict[str, str],
    recorder: RunRecorder,
) -> None:
    console = Console()
    values = {name: value.item() for name, value in metrics.items()}
    best = _best_checkpoint(trainer)
    result = RunResult(values, tags, best.best_model_path, str(datamodule.data_dir.resolve()))
    result_path = write_result(cfg.paths.output_dir, result)
    score = f"{best.monitor} {best.best_model_score:.5f}"
    print_training(console, values, best.best_model_path, score)
    if cfg.test:
        print_result(console, result, datamodule, cfg.model.distance)
    print_recording(console, [result_path], recorder)


def _best_checkpoint(trainer: Trainer) -> ModelCheckpoint:
    checkpoint = trainer.checkpoint_callback
    assert isinstance(checkpoint, ModelCheckpoint)
    return checkpoint
