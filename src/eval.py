"""Evaluate a checkpoint, from a configuration to a number."""

from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningModule, Trainer
from rich.console import Console
from torch import Tensor

from src.callbacks.lost_process import LostProcess
from src.datamodules.market_datamodule import MarketDataModule
from src.models.metric_learning_module import MetricLearningModule
from src.report.console import print_evaluation, print_recording
from src.report.environment import describe_environment
from src.report.evaluation import Evaluation, Provenance, SetSize, summarise
from src.report.evaluation_folder import write_predictions, write_result
from src.report.page import write_report
from src.tracking.recorder import RunRecorder
from src.tracking.run_tags import git_commit
from src.utils.checkpoint import Checkpoint, load_model, read_checkpoint
from src.utils.configuration import as_plain_dict
from src.utils.extras import apply_extras
from src.utils.instantiation import instantiate_all, instantiate_loggers
from src.utils.launch import is_first_process, refuse_separate_processes

_WAYS_ON = """
Either unpack Market-1501 into {data_dir} and put the checkpoint at {ckpt_path}
(other places: python eval.py datamodule.data_dir=<folder> ckpt_path=<file>),
or evaluate the bundled sample: python eval.py experiment=sample"""


def evaluate(cfg: DictConfig) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Measure how well a checkpoint identifies the queries, knowing the references.

    The result is printed and written to `result.json` in `cfg.paths.output_dir` before it is sent
    to any logger.

    Args:
        cfg: configuration composed from `configs/eval.yaml`.

    Returns:
        The metrics, with "test/acc" a float32 scalar in [0, 1], and the objects that were built:
        "cfg", "datamodule", "model", "callbacks", "logger", "trainer" and "recorder"; on the first
        process of a job also "evaluation", and the paths that were "written".

    Raises:
        FileNotFoundError: if the data or the checkpoint is not where the configuration says.
        ValueError: if one of them is not as it should be.
    """
    started = datetime.now().astimezone()
    apply_extras(cfg)
    datamodule: MarketDataModule = instantiate(cfg.datamodule)
    checkpoint = _find_inputs(cfg, datamodule)
    model = _build_model(cfg, checkpoint)
    callbacks = [*instantiate_all(cfg.get("callbacks")), LostProcess()]
    trainer: Trainer = instantiate(
        cfg.trainer, callbacks=callbacks, logger=False, enable_checkpointing=False
    )
    refuse_separate_processes(trainer)
    _refuse_parts(trainer)
    loggers = instantiate_loggers(cfg.get("logger"))
    objects: dict[str, Any] = {
        "cfg": cfg,
        "datamodule": datamodule,
        "model": model,
        "callbacks": callbacks,
        "logger": loggers,
        "trainer": trainer,
    }
    if not is_first_process():
        trainer.test(model, datamodule=datamodule, verbose=False)
        return dict(trainer.callback_metrics), objects | {"recorder": RunRecorder((), {}, {})}
    provenance = _describe_inputs(cfg, datamodule, checkpoint)
    with RunRecorder(loggers, as_plain_dict(cfg), provenance.run_tags()) as recorder:
        trainer.test(model, datamodule=datamodule, verbose=False)
        evaluation = _summarise(cfg, datamodule, model, provenance)
        written = [write_result(evaluation, Path(cfg.paths.output_dir))]
        print_evaluation(Console(), evaluation)
        _record(recorder, evaluation)
        if cfg.analysis.report:
            written += _write_report(cfg, evaluation, started)
        for path in written:
            recorder.log_artifact(path)
    print_recording(Console(), written, recorder.how_to_open(), recorder.failures)
    metrics = {name: torch.tensor(value) for name, value in evaluation.metrics().items()}
    return metrics, objects | {
        "recorder": recorder,
        "evaluation": evaluation,
        "written": written,
    }


def _find_inputs(cfg: DictConfig, datamodule: MarketDataModule) -> Checkpoint | None:
    """List the images and read the checkpoint; there is none for random weights."""
    problems, checkpoint = [], None
    try:
        datamodule.setup("test")
    except FileNotFoundError as error:
        problems.append(str(error))
    if cfg.ckpt_path is not None:
        try:
            checkpoint = read_checkpoint(cfg.ckpt_path)
        except FileNotFoundError as error:
            problems.append(str(error))
    if problems:
        ways_on = _WAYS_ON.format(data_dir=datamodule.data_dir, ckpt_path=cfg.ckpt_path)
        raise FileNotFoundError("\n".join(problems) + "\n" + ways_on)
    return checkpoint


def _build_model(cfg: DictConfig, checkpoint: Checkpoint | None) -> LightningModule:
    if checkpoint is not None:
        return load_model(cfg.model, checkpoint)
    torch.manual_seed(cfg.seed)
    model: LightningModule = instantiate(cfg.model)
    return model


def _refuse_parts(trainer: Trainer) -> None:
    limit = trainer.limit_test_batches
    if isinstance(limit, int) or limit != 1.0:  # as a number of batches, or as a share
        raise ValueError(
            f"`trainer` should let all samples take part, got limit_test_batches={limit}"
        )


def _describe_inputs(
    cfg: DictConfig, datamodule: MarketDataModule, checkpoint: Checkpoint | None
) -> Provenance:
    reference, query = (
        SetSize(len(each.identities), len(each))
        for each in (datamodule.reference_set, datamodule.query_set)
    )
    return Provenance(
        checkpoint=None if checkpoint is None else str(cfg.ckpt_path),
        checkpoint_sha256=None if checkpoint is None else checkpoint.sha256,
        epoch=None if checkpoint is None else checkpoint.epoch,
        data_dir=str(datamodule.data_dir.resolve()),
        dataset_digest=datamodule.inspection.digest,
        reference=reference,
        query=query,
        git_commit=git_commit(cfg.paths.root_dir),
        tags=tuple(map(str, cfg.tags or ())),
        notice=datamodule.notice,
    )


def _summarise(
    cfg: DictConfig, datamodule: MarketDataModule, model: LightningModule, provenance: Provenance
) -> Evaluation:
    assert isinstance(model, MetricLearningModule)
    assert model.test_retrieval.retrieval is not None
    query, reference = (
        each.table(datamodule.data_dir) for each in (datamodule.query_set, datamodule.reference_set)
    )
    retrieval = model.test_retrieval.retrieval
    evaluation = summarise(retrieval, provenance, query=query, reference=reference)
    if not cfg.analysis.report:
        return evaluation
    return evaluation.with_intervals(
        confidence=cfg.analysis.confidence,
        resamples=cfg.analysis.resamples,
        seed=cfg.analysis.seed,
    )


def _record(recorder: RunRecorder, evaluation: Evaluation) -> None:
    provenance = evaluation.provenance
    recorder.log_metrics(evaluation.metrics(), step=provenance.epoch or 0)
    recorder.log_dataset(
        provenance.data_dir,
        provenance.dataset_digest,
        {
            "reference_images": provenance.reference.images,
            "query_images": provenance.query.images,
        },
    )


def _write_report(cfg: DictConfig, evaluation: Evaluation, started: datetime) -> list[Path]:
    folder, duration = Path(cfg.paths.output_dir), datetime.now().astimezone() - started
    return [
        write_predictions(evaluation, folder),
        *write_report(
            evaluation,
            folder,
            pictures=cfg.analysis.pictures,
            configuration=OmegaConf.to_yaml(OmegaConf.create(as_plain_dict(cfg))),
            environment=describe_environment()
            | {
                "Started": f"{started:%Y-%m-%d %H:%M:%S %Z}",
                "Embedding, search and analysis": f"{duration.total_seconds():.1f} s",
            },
        ),
    ]
