"""The training of a network, from a configuration to checkpoints."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from rich.console import Console
from torch import Tensor

from src.callbacks.lost_process import LostProcess
from src.datamodules.image_datamodule import ImageDataModule
from src.embeddings.shards import sha256_of
from src.eval import evaluate, record_evaluation, record_network
from src.models.components.backbone import load_imagenet_weights
from src.models.metric_learning_module import MetricLearningModule
from src.preprocessing import Preprocessing, choose_preprocessing
from src.report.console import print_recording, print_training
from src.report.environment import describe_environment
from src.report.headlines import sum_up
from src.report.wording import counted
from src.tracking.recorder import RunRecorder
from src.tracking.run_tags import describe_run, multirun_tags
from src.utils.checkpoint import load_model, load_weights, read_checkpoint
from src.utils.configuration import as_plain_dict
from src.utils.extras import apply_extras
from src.utils.instantiation import build, build_callbacks, instantiate_loggers
from src.utils.launch import refuse_separate_processes
from src.utils.options import check_options

_INITIAL_WEIGHTS = ("imagenet", "random")
_OPTIONS_OF_DATA = ("experiment=", "datamodule", "paths.")
_NEEDED_TO_RESUME: Mapping[str, type] = {
    "optimizer_states": list,
    "lr_schedulers": list,
    "loops": dict,
    "pytorch-lightning_version": str,
}


def train(cfg: DictConfig) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train a network with ArcFace on the identities of `train`, watching `val`.

    The last metrics are printed and written to `training.json` in `cfg.paths.output_dir`. With
    `cfg.test`, `evaluate` then judges the best checkpoint and writes its result to the same folder.

    Args:
        cfg: configuration composed from `configs/train.yaml`.

    Returns:
        The last value of every metric, and the objects that were built: "cfg", "datamodule",
        "model", "callbacks", "logger", "trainer" and "recorder".

    Raises:
        ChildProcessError: if a process that reads images is killed.
        FileNotFoundError: if the data, or the checkpoint to resume from, is not where `cfg` says.
        ValueError: if one of them is not as it should be, or ImageNet weights are unavailable.
    """
    check_options(cfg)
    apply_extras(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = build(cfg, "datamodule", ImageDataModule, seed=cfg.seed)  # type: ignore[type-abstract]
    options: Any = OmegaConf.to_container(cfg.preprocessing, resolve=True)
    datamodule.preprocessing, _ = choose_preprocessing(options, Preprocessing())
    for stage in ("fit", "test") if cfg.test else ("fit",):
        datamodule.setup(stage)
    measures = _list_measures(datamodule)
    if cfg.monitor is None:
        cfg.monitor = measures[-1]
    if cfg.monitor not in measures:
        raise ValueError(f"`monitor` should be one of {measures}, got {cfg.monitor!r}")
    model = _build_model(cfg, datamodule)
    callbacks = [*build_callbacks(cfg), LostProcess()]
    loggers = instantiate_loggers(cfg.get("logger"))
    counts = datamodule.train_set.counts | datamodule.val_set.counts
    tags = describe_run(cfg.paths.root_dir, cfg.tags, counts) | multirun_tags()
    tags["training_digest"] = datamodule.training_digest
    parameters = as_plain_dict(cfg) | {
        "network": model.architecture,
        "environment": describe_environment(),
    }
    recorder = RunRecorder(
        loggers,
        parameters,
        tags,
        title=f"{cfg.model.backbone} on {datamodule.data_dir.resolve().name}",
        folder=Path(cfg.paths.output_dir),
    )
    trainer = build(cfg, "trainer", Trainer, callbacks=callbacks, logger=recorder)
    refuse_separate_processes(trainer)
    _refuse_parts(trainer)
    with recorder:
        recorder.log_dataset(datamodule.data_dir, datamodule.training_digest, counts, "training")
        _fit(trainer, model, datamodule, cfg.ckpt_path)
        metrics = dict(trainer.callback_metrics)
        best = trainer.checkpoint_callback
        assert isinstance(best, ModelCheckpoint)
        files = [_report(cfg, trainer, best, tags)] if trainer.is_global_zero else []
        outcome = _sum_up(trainer, best, counts["train_identities"])
        if cfg.test:
            measured, evaluated = evaluate(evaluation_config(cfg, best.best_model_path))
            metrics |= measured
            if trainer.is_global_zero:
                evaluation = evaluated["evaluation"]
                files += evaluated["written"]
                record_evaluation(recorder, evaluation, step=trainer.global_step)
                outcome += f" {sum_up(evaluation)}"
        recorder.describe(outcome)
        for path in files:
            recorder.log_artifact(path)
        if trainer.is_global_zero:
            _record_checkpoints(recorder, cfg, trainer, datamodule)
    if trainer.is_global_zero:
        print_recording(Console(), files[:1], recorder.how_to_open(), recorder.failures)
    return metrics, {
        "cfg": cfg,
        "datamodule": datamodule,
        "model": model,
        "callbacks": callbacks,
        "logger": loggers,
        "trainer": trainer,
        "recorder": recorder,
    }


def evaluation_config(cfg: DictConfig, ckpt_path: str) -> DictConfig:
    """Return the configuration with which `evaluate` judges a checkpoint of a training.

    Data, model options, trainer and output folder are those of the training. Nothing is logged,
    since the result belongs to the run of the training.
    """
    changes = {"ckpt_path": ckpt_path, "logger": None, "resume": None}
    return OmegaConf.create({**cfg, **cfg.evaluation, **changes})


def _list_measures(datamodule: ImageDataModule) -> list[str]:
    """List what a training can watch, of which the last one judges best."""
    measures = ["train/loss", "train/acc"]
    if datamodule.val_set.identities & datamodule.train_set.identities:
        measures += ["val/loss", "val/acc_best", "val/acc"]
    return [*measures, "val/nn_acc"] if datamodule.val_has_unseen_identities else measures


def _refuse_parts(trainer: Trainer) -> None:
    """Refuse a training without a single step, or without a look at `val`."""
    options = ("limit_train_batches", "limit_val_batches", "max_steps")
    zeros = [name for name in options if getattr(trainer, name) == 0]
    if zeros or trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            "`trainer` should train and validate at least once, got "
            + (f"{zeros[0]}=0" if zeros else "fast_dev_run")
        )


def _build_model(cfg: DictConfig, datamodule: ImageDataModule) -> MetricLearningModule:
    model = build(cfg, "model", MetricLearningModule, num_classes=datamodule.num_classes)
    model.preprocessing = datamodule.preprocessing
    model.try_out(model.preprocessing.size)
    if cfg.initial_weights not in _INITIAL_WEIGHTS:
        raise ValueError(
            f"`initial_weights` should be one of {_INITIAL_WEIGHTS}, got {cfg.initial_weights!r}"
        )
    if cfg.ckpt_path is not None:
        checkpoint = read_checkpoint(cfg.ckpt_path)
        kinds = _NEEDED_TO_RESUME.items()
        missing = [key for key, kind in kinds if not isinstance(checkpoint.content.get(key), kind)]
        if missing:
            raise ValueError(f"{cfg.ckpt_path} cannot be resumed: it lacks {missing}")
        done = 1 + (checkpoint.file.epoch or 0)
        if 0 < (cfg.trainer.max_epochs or -1) <= done:
            raise ValueError(
                f"`trainer.max_epochs` should be greater than {done} to resume {cfg.ckpt_path}, "
                f"which was trained for that many epochs, got {cfg.trainer.max_epochs}"
            )
        if checkpoint.preprocessing not in (None, model.preprocessing):
            raise ValueError(
                f"`preprocessing` should be that of {cfg.ckpt_path} to resume it, "
                f"{checkpoint.preprocessing}, got {model.preprocessing}"
            )
        load_weights(model, checkpoint.weights, checkpoint.file.path)
    elif cfg.initial_weights == "imagenet":
        load_imagenet_weights(model.backbone, cfg.model.backbone)
    return model


def _fit(
    trainer: Trainer,
    model: MetricLearningModule,
    datamodule: ImageDataModule,
    ckpt_path: str | None,
) -> None:
    try:
        trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
    except RuntimeError as error:  # torch has no type of its own for this
        if not str(error).startswith("DataLoader worker"):
            raise
        raise ChildProcessError(
            "A process that reads images was killed, probably for want of memory. Fewer "
            f"`datamodule.num_workers` need less; with 0 there are none. ({str(error).strip()})"
        ) from error


def evaluation_command(ckpt_path: str) -> str:
    """Return the command that evaluates a checkpoint on the data of its training."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    data = [each for each in given if each.startswith(_OPTIONS_OF_DATA)]
    return shlex.join(["python", "eval.py", *data, f"ckpt_path={ckpt_path}"])


def _report(cfg: DictConfig, trainer: Trainer, best: ModelCheckpoint, tags: dict[str, str]) -> Path:
    """Print the last metrics and the best checkpoint, and write them to a file."""
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    command = evaluation_command(best.best_model_path)
    print_training(Console(), metrics, best.best_model_path, _score(best), command)
    path = Path(cfg.paths.output_dir) / "training.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"metrics": metrics, "tags": tags, "checkpoint": best.best_model_path}
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def _score(best: ModelCheckpoint) -> str:
    """Say what the best checkpoint is best at."""
    if best.monitor is None:
        return "the last epoch"
    return f"{best.monitor} {best.best_model_score:.5f}"


def _sum_up(trainer: Trainer, best: ModelCheckpoint, identities: int) -> str:
    epochs = counted(trainer.current_epoch, "epoch")
    trained = f"Trained for {epochs} on {counted(identities, 'identity', 'identities')}."
    return f"{trained} The best checkpoint is {Path(best.best_model_path).name}: {_score(best)}."


def _record_checkpoints(
    recorder: RunRecorder, cfg: DictConfig, trainer: Trainer, datamodule: ImageDataModule
) -> None:
    """Record the files, the digest of the best one, and its network."""
    callbacks = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    best, *others = (Path(each.best_model_path) for each in callbacks)
    if not best.is_file():  # that of a resumed training whose folder has been moved
        return
    recorder.log_tags({"checkpoint_sha256": sha256_of(best)})
    recorder.log_checkpoints(best, others)
    if recorder.wants_network:
        model = load_model(cfg.model, read_checkpoint(best))
        assert isinstance(model, MetricLearningModule)
        record_network(recorder, model, datamodule, datamodule.val_set)
