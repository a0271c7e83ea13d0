"""What became of every query, and how sure the measures are."""

import math

from pytorch_lightning import Callback, LightningModule, Trainer

from src.exact_retrieval.retrieval.nearest import find_nearest
from src.exact_retrieval.retrieval.similarity_histogram import count_similarities
from src.exact_retrieval.statistics.interval import check_interval_options, identity_interval
from src.models.metric_learning_module import MetricLearningModule
from src.report.outcomes import Findings


class QueryAnalysis(Callback):
    """Log a confidence interval beside each measure, and look at every query.

    The interval of `test/acc` is logged as `test/acc_ci_low` and `test/acc_ci_high`, and so on. It
    resamples identities (see `identity_interval`); a measure that gives none is left without.

    Args:
        confidence: of the intervals.
        resamples: number of resamples.
        seed: of the resamples.
        pictures: whether pictures are to be drawn of the findings; they take most of the time.

    Attributes:
        findings: after the test, the same on every process.

    Raises:
        ValueError: for options that `check_interval_options` refuses.
    """

    findings: Findings

    def __init__(
        self,
        confidence: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
        pictures: bool = True,
    ) -> None:
        check_interval_options(confidence, resamples, seed)
        self.confidence = confidence
        self.resamples = resamples
        self.seed = seed
        self.pictures = pictures

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Analyse what the metrics of the module hold."""
        assert isinstance(pl_module, MetricLearningModule)
        self._log_intervals(pl_module)
        self.findings = self._find(pl_module)

    def _log_intervals(self, module: MetricLearningModule) -> None:
        values = module.query_values()
        assert module.test_retrieval.ranks is not None
        identities = module.test_retrieval.ranks.query_label.cpu().numpy()
        for name, value in values.items():
            low, high = identity_interval(
                value.double().cpu().numpy(),
                identities,
                confidence=self.confidence,
                resamples=self.resamples,
                seed=self.seed,
            )
            if not math.isnan(low):
                module.log(f"{name}_ci_low", low)
                module.log(f"{name}_ci_high", high)

    def _find(self, module: MetricLearningModule) -> Findings:
        metric, distance = module.test_retrieval, module.test_retrieval.distance
        nearest = module.test_knn_acc.found
        assert metric.ranks is not None
        assert nearest is not None
        with metric.sync_context():
            sets = metric.spread_sets()
            return Findings(
                query_index=sets.query_index.sort().values,
                nearest=nearest,
                other=find_nearest(sets, distance=distance, without="label"),
                ranks=metric.ranks,
                cameras_are_known=bool(metric.values),
                similarities=count_similarities(sets, distance=distance) if self.pictures else None,
                distance=distance,
            )
