"""The evaluation of a checkpoint, from a configuration to a number."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from src.callbacks.lost_process import LostProcess
from src.callbacks.query_analysis import QueryAnalysis
from src.datamodules.market_datamodule import MarketDataModule
from src.report.analysis import write_analysis
from src.report.console import print_recording, print_result
from src.report.environment import describe_environment
from src.report.outcomes import tabulate
from src.report.run_folder import RunResult, write_result
from src.tracking.recorder import RunRecorder
from src.tracking.run_tags import describe_run
from src.utils.checkpoint import load_model, read_checkpoint, sha256_of
from src.utils.configuration import as_plain_dict
from src.utils.extras import apply_extras
from src.utils.instantiation import instantiate_all, instantiate_loggers
from src.utils.launch import refuse_separate_processes

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
        "cfg", "datamodule", "model", "callbacks", "logger", "trainer" and "recorder".

    Raises:
        FileNotFoundError: if the data or the checkpoint is not where the configuration says.
        ValueError: if one of them is not as it should be.
    """
    apply_extras(cfg)
    datamodule: MarketDataModule = instantiate(cfg.datamodule)
    _find_inputs(cfg, datamodule)
    model = _build_model(cfg)
    callbacks = [*instantiate_all(cfg.get("callbacks")), LostProcess()]
    trainer: Trainer = instantiate(
        cfg.trainer, callbacks=callbacks, logger=False, enable_checkpointing=False
    )
    refuse_separate_processes(trainer)
    _refuse_parts(trainer)
    is_first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    loggers = instantiate_loggers(cfg.get("logger"))
    tags = _tags(cfg, datamodule) if is_first else {}
    started = datetime.now().astimezone()
    with RunRecorder(loggers, as_plain_dict(cfg), tags) as recorder:
        trainer.test(model=model, datamodule=datamodule, verbose=False)
        metrics = dict(trainer.callback_metrics)
        written = []
        if is_first:
            written = _report(cfg, datamodule, metrics, tags, callbacks, recorder, started)
    return metrics, {
        "cfg": cfg,
        "datamodule": datamodule,
        "model": model,
        "callbacks": callbacks,
        "logger": loggers,
        "trainer": trainer,
        "recorder": recorder,
        "written": written,
    }


def _find_inputs(cfg: DictConfig, datamodule: MarketDataModule) -> None:
    problems = []
    try:
        datamodule.setup("test")
    except FileNotFoundError as error:
        problems.append(str(error))
    if cfg.ckpt_path is not None and not Path(cfg.ckpt_path).is_file():
        problems.append(f"No checkpoint at {cfg.ckpt_path}")
    if problems:
        ways_on = _WAYS_ON.format(data_dir=datamodule.data_dir, ckpt_path=cfg.ckpt_path)
        raise FileNotFoundError("\n".join(problems) + "\n" + ways_on)


def _build_model(cfg: DictConfig) -> LightningModule:
    if cfg.ckpt_path is not None:
        return load_model(cfg.model, cfg.ckpt_path)
    torch.manual_seed(cfg.seed)
    model: LightningModule = instantiate(cfg.model)
    return model


def _refuse_parts(trainer: Trainer) -> None:
    limit = trainer.limit_test_batches
    if isinstance(limit, int) or limit != 1.0:  # as a number of batches, or as a share
        raise ValueError(
            f"`trainer` should let all samples take part, got limit_test_batches={limit}"
        )


def _tags(cfg: DictConfig, datamodule: MarketDataModule) -> dict[str, str]:
    tags = {
        **describe_run(
            cfg.paths.root_dir,
            cfg.tags,
            datamodule.reference_set.counts | datamodule.query_set.counts,
        ),
        "checkpoint_sha256": "none: random weights",
        "dataset_digest": datamodule.inspection.digest,
    }
    if cfg.ckpt_path is not None:
        tags["checkpoint_sha256"] = sha256_of(cfg.ckpt_path)
        tags["checkpoint_epoch"] = str(read_checkpoint(cfg.ckpt_path).get("epoch", "unknown"))
    return tags


def _report(
    cfg: DictConfig,
    datamodule: MarketDataModule,
    metrics: Mapping[str, Tensor],
    tags: Mapping[str, str],
    callbacks: Sequence[Callback],
    recorder: RunRecorder,
    started: datetime,
) -> list[Path]:
    """Write and print the result, then record it and what else is known of the queries."""
    values = {name: value.item() for name, value in sorted(metrics.items())}
    folder, data_dir = Path(cfg.paths.output_dir), datamodule.data_dir.resolve()
    analyses = [each for each in callbacks if isinstance(each, QueryAnalysis)]
    confidence = analyses[0].confidence if analyses else None
    result = RunResult(values, tags, cfg.ckpt_path, str(data_dir), confidence)
    result_path = write_result(folder, result)
    print_result(Console(), result, datamodule, cfg.model.distance)
    epoch = tags.get("checkpoint_epoch", "")
    recorder.log_metrics(values, step=int(epoch) if epoch.isdecimal() else 0)
    sets = (datamodule.reference_set, datamodule.query_set)
    counts = {f"{each.name}_images": len(each) for each in sets}
    recorder.log_dataset(data_dir, datamodule.inspection.digest, counts)
    written = [result_path]
    duration = datetime.now().astimezone() - started
    for analysis in analyses:
        written += write_analysis(
            folder,
            result,
            tabulate(
                analysis.findings,
                query=datamodule.query_set.images,
                reference=datamodule.reference_set.images,
                data_dir=datamodule.data_dir,
            ),
            configuration=OmegaConf.to_yaml(OmegaConf.create(as_plain_dict(cfg))),
            environment=describe_environment()
            | {
                "Started": f"{started:%Y-%m-%d %H:%M:%S %Z}",
                "Embedding, search and analysis": f"{duration.total_seconds():.1f} s",
            },
            notice=datamodule.notice,
        )
    for path in written:
        recorder.log_artifact(path)
    print_recording(Console(), written, recorder)
    return written
