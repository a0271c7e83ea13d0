"""The result of one evaluation: what was evaluated, how good it is, what became of each query."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from src.exact_retrieval.retrieval.measures import (
    DENOMINATORS,
    MEASURES,
    Measure,
    Measured,
    count_denominators,
    describe_thresholds,
    measure_all,
)
from src.exact_retrieval.retrieval.ranking import SimilarityHistogram
from src.exact_retrieval.retrieval.retrieval import Retrieval, Vote
from src.exact_retrieval.retrieval.verification import NO_THRESHOLDS, Verification
from src.exact_retrieval.retrieval.working_points import WorkingPoint
from src.exact_retrieval.search.scoring import Distance
from src.exact_retrieval.statistics.interval import identity_interval
from src.preprocessing import Preprocessing
from src.report.predictions import tabulate_predictions

RANDOM_WEIGHTS = "none: random weights"
UNKNOWN_NETWORK = "unknown: embeddings alone"
FLIP = "each embedding is the mean of an image's and its mirror image's"


@dataclass(frozen=True)
class SetSize:
    """How large a set is."""

    identities: int
    images: int


@dataclass(frozen=True)
class LeftOut:
    """Files in the folders of the sets that took no part.

    Attributes:
        reason: what they are.
        files: how many.
        first: path of the first one.
    """

    reason: str
    files: int
    first: str

    def __str__(self) -> str:
        """Describe them in a line."""
        return f"{self.files:,} {self.reason}, the first {self.first}"


@dataclass(frozen=True)
class Provenance:
    """What was evaluated.

    Attributes:
        checkpoint: the file; None for random weights, and where only embeddings are known.
        checkpoint_sha256: of the file; None likewise.
        epoch: that the checkpoint was saved after; None where it does not say.
        data_dir: the folder that paths of images are relative to.
        dataset_digest: of the content of both sets.
        reference: size of the set.
        query: size of the set.
        git_commit: of this code.
        tags: that the user gave.
        notice: what a reader must know first; may be empty.
        embeddings: the folder that the embeddings come from; None if they were computed.
        embeddings_sha256: of the files in it; None likewise.
        preprocessing: what was done to an image before the network saw it; None if it is unknown.
        network_options: what the network was built of beside its file, as JSON; None likewise.
        flip: whether an embedding is the mean of an image's and its mirror image's.
        precision: in which the network embedded, if it is not float32.
        deviation: from float32, of the embeddings of the first images: the greatest distance, over
            the norm; None likewise.
        left_out: files that took no part.
        remarks: why the result may be wrong, in sentences by the name of the fault.
    """

    checkpoint: str | None
    checkpoint_sha256: str | None
    epoch: int | None
    data_dir: str
    dataset_digest: str
    reference: SetSize
    query: SetSize
    git_commit: str
    tags: tuple[str, ...]
    notice: str
    embeddings: str | None = None
    embeddings_sha256: str | None = None
    preprocessing: Preprocessing | None = None
    network_options: str | None = None
    flip: bool = False
    precision: str | None = None
    deviation: float | None = None
    left_out: tuple[LeftOut, ...] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def short_name(self) -> str:
        """Name the network in a few words, such as "epoch_120"."""
        if self.checkpoint is not None:
            return Path(self.checkpoint).stem
        return "random weights" if self.embeddings is None else "embeddings"

    @property
    def title(self) -> str:
        """Name the evaluation in a few words, such as "epoch_120 on market"."""
        return f"{self.short_name} on {Path(self.data_dir).name}"

    @property
    def network(self) -> str:
        """Name the checkpoint, or say why there is none."""
        return self.checkpoint or (RANDOM_WEIGHTS if self.embeddings is None else UNKNOWN_NETWORK)

    @property
    def rounding(self) -> str | None:
        """Say how far embeddings are from those in float32; None if that is what they are."""
        if self.precision is None:
            return None
        return f"{self.precision}: embeddings deviate from float32 by {self.deviation:.1e} at most"

    def run_tags(self) -> dict[str, str]:
        """Return what identifies code, checkpoint and data, as a logger's tags."""
        tags = {"git_commit": self.git_commit}
        if self.tags:
            tags["tags"] = ",".join(self.tags)
        tags["checkpoint_sha256"] = self.checkpoint_sha256 or self.network
        if self.checkpoint is not None:
            tags["checkpoint_epoch"] = "unknown" if self.epoch is None else str(self.epoch)
        if self.embeddings_sha256 is not None:
            tags["embeddings_sha256"] = self.embeddings_sha256
        if self.preprocessing is not None:
            tags["preprocessing"] = str(self.preprocessing)
            tags["preprocessing_sha256"] = self.preprocessing.sha256
        if self.network_options is not None:
            tags["network"] = self.network_options
        if self.flip:
            tags["flip"] = FLIP
        if self.precision is not None:
            tags["precision"] = self.precision
            tags["precision_deviation"] = f"{self.deviation:.2e}"
        warnings = {f"warning_{name}": remark for name, remark in self.remarks.items()}
        return tags | self.data_tags() | warnings

    def data_tags(self) -> dict[str, str]:
        """Return those of the tags that identify the data."""
        tags = {"dataset_digest": self.dataset_digest}
        for name, size in (("reference", self.reference), ("query", self.query)):
            tags[f"{name}_identities"] = str(size.identities)
            tags[f"{name}_images"] = str(size.images)
        return tags


@dataclass(frozen=True)
class Estimate:
    """A measure of one evaluation.

    Attributes:
        measure: which one.
        value: in [0, 1]; like the bounds a float32 number, as loggers get it.
        size: of its denominator.
        interval: bounds, lower first; None where none was estimated.
    """

    measure: Measure
    value: float
    size: int
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        """Write the value and, if there is one, the interval."""
        value = f"{self.value:.5f}"
        if self.interval is None:
            return value
        return f"{value} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation.

    Earlier versions did not record how references were ranked. In an evaluation that one of them
    wrote, `distance`, `k`, `vote` and `histogram` are None, and there are no thresholds.

    Attributes:
        provenance: what was evaluated.
        estimates: all measures, in the order of `MEASURES`.
        counts: sizes of the denominators, by their names in `DENOMINATORS`.
        predictions: one row for each query, as `tabulate_predictions` describes it.
        distance: what references rank by.
        k: number of nearest references.
        vote: how they vote for an identity.
        histogram: of the similarities of all pairs, on the CPU.
        verification: thresholds on the similarities of all pairs.
        open_set: thresholds that few queries of unknown people exceed.
        confidence: of the intervals, as a share; None without intervals.
        omissions: why some measures are missing, a sentence for each denominator that has no query.
    """

    provenance: Provenance
    estimates: tuple[Estimate, ...]
    counts: Mapping[str, int]
    predictions: pd.DataFrame
    distance: Distance | None
    k: int | None
    vote: Vote | None
    histogram: SimilarityHistogram | None
    verification: Verification = NO_THRESHOLDS
    open_set: tuple[WorkingPoint, ...] = ()
    confidence: float | None = None
    omissions: tuple[str, ...] = ()

    def with_intervals(self, *, confidence: float) -> "Evaluation":
        """Estimate the interval of every measure, by `identity_interval`.

        Raises:
            ValueError: for a confidence that `check_confidence` refuses.
        """
        identities, _ = pd.factorize(self.predictions["identity"], sort=True)

        def estimate_interval(measure: Measure) -> tuple[float, float] | None:
            bounds = identity_interval(
                self.predictions[measure.name].to_numpy(),
                identities,
                weights=self.weights(measure),
                confidence=confidence,
            )
            low, high = np.asarray(bounds, np.float32).tolist()
            return None if np.isnan(low) else (low, high)

        estimates = tuple(
            replace(estimate, interval=estimate_interval(estimate.measure))
            for estimate in self.estimates
        )
        return replace(self, estimates=estimates, confidence=confidence)

    def weights(self, measure: Measure) -> npt.NDArray[np.int64] | None:
        """Return how often each query counts in a mean; None for once."""
        return self.predictions["matches"].to_numpy() if measure.over_matches else None

    def interval_identities(self) -> dict[str, int]:
        """Count the identities behind each interval, by the name of its measure."""
        identity = self.predictions["identity"]
        return {
            estimate.measure.name: identity[
                self.predictions[estimate.measure.name].notna()
            ].nunique()
            for estimate in self.estimates
            if estimate.interval is not None
        }

    def estimate(self, name: str) -> Estimate | None:
        """Return the estimate of a measure; None if it is missing."""
        return next((each for each in self.estimates if each.measure.name == name), None)

    def describe(self, text: str) -> str:
        """Fill the braces of a measure's text."""
        distance = str(self.distance).replace("_", " ")
        return text.format(distance=distance, k=self.k, vote=self.vote)

    def metrics(self) -> dict[str, float]:
        """Return all numbers by the names under which they are logged, "test/acc" first of all.

        Those that are no counts are float32 numbers. Thresholds are known more exactly: see
        `verification` and `open_set`.
        """
        metrics = {}
        for estimate in self.estimates:
            name = f"test/{estimate.measure.name}"
            metrics[name] = estimate.value
            if estimate.interval is not None:
                metrics[f"{name}_ci_low"], metrics[f"{name}_ci_high"] = estimate.interval
        for name, number in describe_thresholds(self.verification, self.open_set).items():
            metrics[f"test/{name}"] = float(np.float32(number))
        return metrics | {f"test/{name}": float(count) for name, count in self.counts.items()}


def summarise(
    retrieval: Retrieval,
    provenance: Provenance,
    *,
    query: pd.DataFrame,
    reference: pd.DataFrame,
) -> Evaluation:
    """Measure a retrieval and tabulate its queries, without intervals.

    Args:
        retrieval: what the search knows of every query.
        provenance: what was evaluated.
        query: path (str, relative to the data folder, with "/"), identity (str) and camera (Int64,
            null where unknown) of the images that `retrieval.query_index` counts in.
        reference: likewise, of those that indices of references count in.
    """
    measured = measure_all(retrieval)
    edges, same, different = (column.cpu() for column in retrieval.histogram)
    return Evaluation(
        provenance=provenance,
        estimates=tuple(
            Estimate(each.measure, each.mean.item(), each.size, None) for each in measured
        ),
        counts=count_denominators(retrieval),
        predictions=tabulate_predictions(retrieval, measured, query=query, reference=reference),
        distance=retrieval.distance,
        k=retrieval.k,
        vote=retrieval.vote,
        histogram=SimilarityHistogram(edges, same, different),
        verification=retrieval.verification,
        open_set=retrieval.open_set,
        omissions=tuple(_explain_omissions(retrieval, measured, (query, reference))),
    )


def _explain_omissions(
    retrieval: Retrieval, measured: Iterable[Measured], images: Iterable[pd.DataFrame]
) -> Iterator[str]:
    """Say why measures are missing, unless a user has to ask for them."""
    present = {each.measure.name for each in measured}
    counts = count_denominators(retrieval)
    reasons: dict[str, list[str]] = {}
    for measure in MEASURES:
        if measure.name in present or measure.is_optional:
            continue
        if measure.denominator not in counts:
            reason = _describe_unknown_cameras(pd.concat(images))
        elif counts[measure.denominator] == 0:
            reason = f"there are no {DENOMINATORS[measure.denominator]}"
        elif measure.needs is not None:
            reason = f"there are fewer than {measure.needs}"
        else:
            continue
        reasons.setdefault(reason, []).append(measure.name)
    for reason, names in reasons.items():
        verb = "is" if len(names) == 1 else "are"
        yield f"{', '.join(names)} {verb} not computed: {reason}."


def _describe_unknown_cameras(images: pd.DataFrame) -> str:
    images = images.drop_duplicates("path")
    unknown = images.loc[images["camera"].isna(), "path"]
    verb = "has" if len(unknown) == 1 else "have"
    return f"{len(unknown):,} of {len(images):,} images {verb} no camera (first: {unknown.iloc[0]})"
