"""Evaluate a checkpoint, from a configuration to a number."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from rich.console import Console
from torch import Tensor

from src.callbacks.first_batch import FirstBatch
from src.callbacks.keep_embeddings import KeepEmbeddings
from src.callbacks.lost_process import LostProcess
from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.samples import Sample
from src.datamodules.embedding_datamodule import EmbeddingDataModule
from src.datamodules.image_datamodule import ImageDataModule
from src.datamodules.market_datamodule import MarketDataModule
from src.datamodules.retrieval_datamodule import RetrievalDataModule
from src.embeddings.folder import EMBEDDINGS_FOLDER
from src.embeddings.manifest import Computation, Manifest, Origin
from src.exact_retrieval.retrieval.reranking import KReciprocal
from src.exact_retrieval.retrieval.retrieval import check_reranking
from src.models.network_form import name_precision, prepare_network
from src.models.retrieval_module import Embedder, RetrievalModule
from src.preprocessing import choose_preprocessing
from src.report.console import print_evaluation, print_recording
from src.report.cumulative_match import LAST_RANK, find_matches
from src.report.environment import describe_environment
from src.report.evaluation import Evaluation, LeftOut, Provenance, SetSize, summarise
from src.report.evaluation_folder import write_predictions, write_result
from src.report.headlines import sum_up
from src.report.identities import summarise_identities
from src.report.page import write_report
from src.tracking.meanwhile import opened_meanwhile
from src.tracking.recorder import RunRecorder
from src.tracking.run_tags import git_commit, multirun_tags
from src.utils.checkpoint import load_model, read_checkpoint
from src.utils.configuration import as_plain_dict
from src.utils.extras import apply_extras
from src.utils.instantiation import build, build_callbacks, instantiate_loggers
from src.utils.launch import is_first_process, refuse_separate_processes
from src.utils.options import check_options

_WAYS_ON = """

Either {steps}
(other places: python eval.py datamodule.data_dir=<folder> ckpt_path=<file>),
or evaluate the bundled sample: python eval.py experiment=sample"""
_BLIND = (
    "Every query is exactly as similar to a reference of its identity as to one of another: the "
    "embeddings do not tell people apart, and the result says nothing."
)
# Images on which another form or precision of the network is compared with float32.
_TRIED_IMAGES = 16
# Options of `model` that do not say what the network is: its file has a digest.
_NOT_THE_NETWORK = ("distance", "k", "vote", "flip", "runtime", "weights", "file")


class _Parts(NamedTuple):
    """What an evaluation is made of."""

    cfg: DictConfig
    datamodule: RetrievalDataModule
    model: RetrievalModule
    callbacks: list[Callback]
    logger: list[Logger]  # as soon as there is a recorder
    trainer: Trainer

    @property
    def keepers(self) -> list[KeepEmbeddings]:
        """Those of the callbacks that keep embeddings: one, or none."""
        return [each for each in self.callbacks if isinstance(each, KeepEmbeddings)]

    def embed_and_retrieve(self) -> None:
        """Embed all images, and let the queries retrieve references."""
        self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)


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
    check_options(cfg)
    apply_extras(cfg)
    parts = _build_parts(cfg)
    deviation = _prepare_network(parts)
    if not is_first_process():
        parts.embed_and_retrieve()
        nothing = RunRecorder((), {}, {})
        return dict(parts.trainer.callback_metrics), parts._asdict() | {"recorder": nothing}
    provenance = _describe_inputs(parts, deviation)
    first_batch = FirstBatch()
    parts.trainer.callbacks.append(first_batch)  # type: ignore[attr-defined]
    build_recorder = partial(_build_recorder, parts, provenance)
    with opened_meanwhile(build_recorder, first_batch.done) as wait_for_recorder:
        if parts.trainer.world_size > 1:
            wait_for_recorder()  # if another process dies, this one ends at once, and its run fails
        parts.embed_and_retrieve()
        evaluation = _summarise(parts, provenance)
        written = _publish(evaluation, wait_for_recorder, Path(cfg.paths.output_dir))
        recorder = wait_for_recorder()
        if cfg.analysis.report:
            written += _write_report(cfg, evaluation, started)
        for path in written:
            recorder.log_artifact(path)
        if recorder.wants_network and isinstance(parts.datamodule, ImageDataModule):
            images = parts.datamodule.query_set
            record_network(recorder, _build_model(cfg), parts.datamodule, images)
    shown = [*written, *(keeper.folder for keeper in parts.keepers)]
    print_recording(Console(), shown, recorder.how_to_open(), recorder.failures)
    metrics = {name: torch.tensor(value) for name, value in evaluation.metrics().items()}
    results = {"recorder": recorder, "evaluation": evaluation, "written": written}
    return metrics, parts._asdict() | results


def record_evaluation(recorder: RunRecorder, evaluation: Evaluation, step: int) -> None:
    """Record data, measures at a step, match curve and a row for each identity."""
    provenance, predictions = evaluation.provenance, evaluation.predictions
    counts = {
        "reference_images": provenance.reference.images,
        "query_images": provenance.query.images,
    }
    recorder.log_dataset(provenance.data_dir, provenance.dataset_digest, counts, "test")
    recorder.log_metrics(evaluation.metrics(), step=step)
    recorder.log_tags(provenance.run_tags())
    matches = find_matches(predictions)
    name = "test/cmc" if matches.across_cameras else "test/cmc_all"
    recorder.log_curve(name, matches.shares(LAST_RANK).tolist())
    recorder.log_table(summarise_identities(predictions).to_dict("list"), "identities.json")


def record_network(
    recorder: RunRecorder, model: RetrievalModule, datamodule: ImageDataModule, images: ImageSet
) -> None:
    """Offer the network as a model, with two images as an example of what it takes.

    Args:
        recorder: of the run.
        model: with its weights, as it was trained: in float32, on the CPU.
        datamodule: whose preprocessing is that of the network.
        images: of which the first two serve.
    """
    pixels = torch.stack([images[index % len(images)].image for index in range(2)])
    recorder.log_network(Embedder(model).eval(), datamodule.preprocessing.normalise(pixels))


def _build_parts(cfg: DictConfig) -> _Parts:
    datamodule = build(cfg, "datamodule", RetrievalDataModule)
    model = _find_inputs(cfg, datamodule)
    retrieval = model.test_retrieval
    retrieval.leave_one_out = datamodule.leave_one_out
    if cfg.get("reranking") is not None:
        retrieval.reranking = build(cfg, "reranking", KReciprocal)
    check_reranking(retrieval.reranking, datamodule.leave_one_out)
    callbacks = [*build_callbacks(cfg), *_keep_embeddings(cfg, datamodule), LostProcess()]
    trainer = build(
        cfg, "trainer", Trainer, callbacks=callbacks, logger=False, enable_checkpointing=False
    )
    datamodule.trainer = trainer  # which decides on the size of batches
    refuse_separate_processes(trainer)
    _refuse_parts(trainer)
    return _Parts(cfg, datamodule, model, callbacks, [], trainer)


def _find_inputs(cfg: DictConfig, datamodule: RetrievalDataModule) -> RetrievalModule:
    """Build the network, and list the images as it takes them."""
    problems, steps, model = [], [], None
    try:
        model = _build_model(cfg)
        if isinstance(datamodule, ImageDataModule):
            _choose_preprocessing(cfg, datamodule, model)
    except FileNotFoundError as error:
        problems.append(str(error))
        steps.append(f"put the checkpoint at {cfg.ckpt_path}")
    try:
        datamodule.setup("test")
    except FileNotFoundError as error:
        problems.insert(0, str(error))
        if isinstance(datamodule, MarketDataModule):
            steps.insert(0, f"unpack Market-1501 into {datamodule.data_dir}")
    if model is None or problems:
        ways_on = _WAYS_ON.format(steps=" and ".join(steps)) if steps else ""
        raise FileNotFoundError("\n".join(problems) + ways_on)
    return model


def _build_model(cfg: DictConfig) -> RetrievalModule:
    """Build the network with the weights of the checkpoint or of its own file, or random ones."""
    torch.manual_seed(cfg.seed)
    if cfg.ckpt_path is None:
        model = build(cfg, "model", RetrievalModule)
    elif _is_module(get_object(cfg.model._target_)):
        checkpoint = read_checkpoint(cfg.ckpt_path)
        loaded = load_model(cfg.model, checkpoint)
        assert isinstance(loaded, RetrievalModule)
        model = loaded
        model.file = checkpoint.file
        model.preprocessing = checkpoint.preprocessing or model.preprocessing
    else:
        raise ValueError(
            f"`ckpt_path` should go with model=checkpoint, got {cfg.ckpt_path}: other networks "
            "take model.weights or model.file, and the bundled sample without its checkpoint is "
            "datamodule=sample"
        )
    return model


def _is_module(target: object) -> bool:
    return isinstance(target, type) and issubclass(target, RetrievalModule)


def _choose_preprocessing(
    cfg: DictConfig, datamodule: ImageDataModule, model: RetrievalModule
) -> None:
    """Prepare images as the configuration and the network say."""
    options: Any = OmegaConf.to_container(cfg.preprocessing, resolve=True)
    datamodule.preprocessing, remarks = choose_preprocessing(options, model.preprocessing)
    if remarks:
        datamodule.remark({"preprocessing": " ".join(remarks)})
    model.try_out(datamodule.preprocessing.size)


def _keep_embeddings(cfg: DictConfig, datamodule: RetrievalDataModule) -> list[KeepEmbeddings]:
    """Build what keeps the embeddings of images, if they are to be kept."""
    if cfg.embeddings.keep and isinstance(datamodule, ImageDataModule):
        resume = None if cfg.resume is None else Path(cfg.resume, EMBEDDINGS_FOLDER)
        folder = Path(cfg.paths.output_dir, EMBEDDINGS_FOLDER)
        return [KeepEmbeddings(folder, cfg.embeddings.shard_images, resume)]
    if cfg.resume is not None:
        raise ValueError("`resume` should go with images and embeddings.keep=true")
    return []


def _refuse_parts(trainer: Trainer) -> None:
    limit = trainer.limit_test_batches
    if isinstance(limit, int) or limit != 1.0:  # as a number of batches, or as a share
        raise ValueError(
            f"`trainer` should let all samples take part, got limit_test_batches={limit}"
        )


def _prepare_network(parts: _Parts) -> float | None:
    """Bring the network into the form in which it embeds, and return its deviation, if any."""
    datamodule = parts.datamodule
    if not isinstance(datamodule, ImageDataModule):
        return None
    images = datamodule.reference_set
    first = images.read(range(min(len(images), _TRIED_IMAGES)))
    assert isinstance(first, Sample)
    pixels = datamodule.preprocessing.normalise(first.image)
    return prepare_network(parts.model, parts.trainer, pixels)


def _find_origin(
    cfg: DictConfig, datamodule: RetrievalDataModule, model: RetrievalModule
) -> Origin:
    if isinstance(datamodule, EmbeddingDataModule):
        return datamodule.origin
    assert isinstance(datamodule, ImageDataModule)
    options: Any = OmegaConf.to_container(cfg.model, resolve=True)
    network = {name: value for name, value in options.items() if name not in _NOT_THE_NETWORK}
    network |= model.architecture
    file = model.file
    return Origin(
        checkpoint=None if file is None else str(file.path),
        checkpoint_sha256=None if file is None else file.sha256,
        epoch=None if file is None else file.epoch,
        data_dir=str(datamodule.data_dir.resolve()),
        dataset_digest=datamodule.inspection.digest,
        preprocessing=datamodule.preprocessing,
        preprocessing_sha256=datamodule.preprocessing.sha256,
        network=json.dumps(network, sort_keys=True),
        flip=model.flip,
    )


def _describe_inputs(parts: _Parts, deviation: float | None) -> Provenance:
    """Describe what is evaluated, also where embeddings are kept."""
    cfg, datamodule, model = parts.cfg, parts.datamodule, parts.model
    origin = _find_origin(cfg, datamodule, model)
    for keeper in parts.keepers:
        keeper.prepare(_describe_embeddings(parts, origin))
    reference, query = (
        SetSize(len(each.identities), len(each))
        for each in (datamodule.reference_set, datamodule.query_set)
    )
    files = datamodule if isinstance(datamodule, EmbeddingDataModule) else None
    return Provenance(
        checkpoint=origin.checkpoint,
        checkpoint_sha256=origin.checkpoint_sha256,
        epoch=origin.epoch,
        data_dir=origin.data_dir,
        dataset_digest=origin.dataset_digest,
        reference=reference,
        query=query,
        git_commit=git_commit(cfg.paths.root_dir),
        tags=tuple(map(str, cfg.tags or ())),
        notice=datamodule.notice,
        embeddings=str(files.data_dir.resolve()) if files else None,
        embeddings_sha256=files.embeddings_sha256 if files else None,
        preprocessing=origin.preprocessing,
        network_options=origin.network,
        flip=origin.flip,
        left_out=tuple(
            LeftOut(reason, len(paths), str(paths[0]))
            for reason, paths in datamodule.left_out.items()
        ),
        remarks=dict(datamodule.remarks),
        precision=None if deviation is None else name_precision(model, parts.trainer),
        deviation=deviation,
    )


def _describe_embeddings(parts: _Parts, origin: Origin) -> Manifest:
    datamodule, model, trainer = parts.datamodule, parts.model, parts.trainer
    assert isinstance(datamodule, ImageDataModule)
    return Manifest(
        origin,
        Computation(
            batch_size=datamodule.test_batch_size,
            processes=trainer.world_size,
            shard_images=parts.cfg.embeddings.shard_images,
            precision=name_precision(model, trainer),
            device=trainer.strategy.root_device.type,
            form=model.form,
        ),
        {each.name: len(each) for each in (datamodule.reference_set, datamodule.query_set)},
    )


def _build_recorder(parts: _Parts, provenance: Provenance) -> RunRecorder:
    import_module("scipy.special")  # slow, too, and the intervals take it
    cfg = parts.cfg
    parts.logger.extend(instantiate_loggers(cfg.get("logger")))
    parameters = as_plain_dict(cfg) | {
        "network": json.loads(provenance.network_options or "{}"),
        "environment": describe_environment(),
    }
    return RunRecorder(
        parts.logger,
        parameters,
        provenance.run_tags() | multirun_tags(),
        title=provenance.title,
        folder=Path(cfg.paths.output_dir),
    )


def _summarise(parts: _Parts, provenance: Provenance) -> Evaluation:
    cfg, datamodule, model = parts.cfg, parts.datamodule, parts.model
    retrieval = model.retrieval
    assert retrieval is not None
    query, reference = (each.table() for each in (datamodule.query_set, datamodule.reference_set))
    if retrieval.is_blind:
        datamodule.remark({"equal_embeddings": _BLIND})
        provenance = replace(provenance, remarks=dict(datamodule.remarks))
    evaluation = summarise(retrieval, provenance, query=query, reference=reference)
    if not cfg.analysis.report:
        return evaluation
    return evaluation.with_intervals(confidence=cfg.analysis.confidence)


def _publish(
    evaluation: Evaluation, wait_for_recorder: Callable[[], RunRecorder], folder: Path
) -> list[Path]:
    """Print, write and record a result, and return the file.

    In the reverse order of the lines: what fails does not keep the others from it.
    """
    written: list[Path] = []
    with ExitStack() as outcome:
        outcome.callback(lambda: wait_for_recorder().describe(sum_up(evaluation)))
        outcome.callback(
            lambda: record_evaluation(
                wait_for_recorder(), evaluation, evaluation.provenance.epoch or 0
            )
        )
        outcome.callback(lambda: written.append(write_result(evaluation, folder)))
        print_evaluation(Console(), evaluation)
    return written


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
