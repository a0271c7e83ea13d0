"""Judge embeddings by their nearest neighbours."""

from pytorch_lightning import LightningModule
from torch import Tensor

from src.datamodules.components.samples import EmbeddedSample, Sample
from src.exact_retrieval import EmbeddingRetrieval
from src.exact_retrieval.retrieval.retrieval import Vote
from src.exact_retrieval.search.scoring import Distance

_QUERY_LOADER = 1


class RetrievalModule(LightningModule):
    """The test of a network: its embeddings of the queries retrieve those of the references.

    As it is, it has no network and takes data that are embeddings already. A subclass defines
    `forward`, from images to embeddings.

    Args:
        distance: what references rank by, "cosine", "euclidean" or "inner_product".
        k: number of references that vote for `test/knn_acc`.
        vote: how they vote, "majority", or under cosine "weighted".
        leave_one_out: whether all samples come as references, each to be a query against all the
            others.

    Raises:
        ValueError: if an option is another.
    """

    def __init__(
        self,
        distance: Distance = "cosine",
        k: int = 5,
        vote: Vote = "majority",
        leave_one_out: bool = False,
    ) -> None:
        super().__init__()
        self.test_retrieval = EmbeddingRetrieval(
            distance=distance, k=k, vote=vote, leave_one_out=leave_one_out
        )

    def on_test_epoch_start(self) -> None:
        """Start from an empty metric, however the processes came to life."""
        self.test_retrieval.reset()

    def test_step(
        self, batch: Sample | EmbeddedSample, batch_idx: int, dataloader_idx: int = 0
    ) -> Tensor:
        """Add a batch of references (dataloader 0) or queries (dataloader 1).

        Returns:
            The embeddings [B, D].
        """
        embeddings = batch.embedding if isinstance(batch, EmbeddedSample) else self(batch.image)
        self.test_retrieval.update(
            embeddings,
            batch.label,
            is_query=dataloader_idx == _QUERY_LOADER,
            indices=batch.index,
            cameras=batch.camera,
        )
        return embeddings

    def on_test_epoch_end(self) -> None:
        """Log all measures, and the numbers of queries that they are means over."""
        measures = self.test_retrieval.compute()
        self.log_dict({f"test/{name}": value for name, value in measures.items()})
