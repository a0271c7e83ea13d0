"""Judge embeddings by their nearest neighbours."""

from typing import Literal, get_args

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from src.datamodules.components.samples import EmbeddedSample, Sample
from src.exact_retrieval import EmbeddingRetrieval
from src.exact_retrieval.retrieval.retrieval import Retrieval, Vote
from src.exact_retrieval.search.scoring import Distance
from src.preprocessing import Preprocessing
from src.utils.checkpoint import NetworkFile

Runtime = Literal["torch", "openvino"]

_QUERY_LOADER = 1


class RetrievalModule(LightningModule):
    """The test of a network: its embeddings of the queries retrieve those of the references.

    Without a network it takes data that are embeddings already. A subclass may define `forward`
    instead, from images to embeddings.

    Args:
        network: from images [B, 3, H, W] to embeddings [B, D].
        distance: what references rank by, "cosine", "euclidean" or "inner_product".
        k: number of references that vote for `test/knn_acc`.
        vote: how they vote, "majority", or under cosine "weighted".
        leave_one_out: whether all samples come as references, each to be a query against all the
            others.
        flip: whether the embedding of an image is the mean of its own and its mirror image's.
        runtime: what runs the network in an evaluation, "torch" or, on the CPU, "openvino".

    Attributes:
        file: that the weights come from; None for random weights.
        preprocessing: that the network was trained with; None if it is unknown.
        retrieval: what the last test knows of every query.
        embedding_size: width D of the embeddings, after `try_out`.
        form: in which the network embeds, as `prepare_network` has chosen it.
        memory_format: of the images that the network gets.

    Raises:
        ValueError: if an option is another.
    """

    file: NetworkFile | None = None
    preprocessing: Preprocessing | None = None
    retrieval: Retrieval | None = None
    embedding_size: int
    form: str = "as it is"
    memory_format: torch.memory_format = torch.contiguous_format

    def __init__(
        self,
        network: nn.Module | None = None,
        distance: Distance = "cosine",
        k: int = 5,
        vote: Vote = "majority",
        leave_one_out: bool = False,
        flip: bool = False,
        runtime: Runtime = "torch",
    ) -> None:
        super().__init__()
        if runtime not in get_args(Runtime):
            raise ValueError(f"`runtime` should be one of {get_args(Runtime)}, got {runtime!r}")
        if network is not None:
            self.network = network
        self.flip = flip
        self.runtime = runtime
        self.test_retrieval = EmbeddingRetrieval(
            distance=distance, k=k, vote=vote, leave_one_out=leave_one_out
        )

    @property
    def architecture(self) -> dict[str, str | int]:
        """What the network is, after `try_out`: its backbone and the width of its embeddings."""
        return {"backbone": type(self.network).__name__, "embedding_size": self.embedding_size}

    def forward(self, image: Tensor) -> Tensor:
        """Return what the network makes of images [B, 3, H, W]."""
        embeddings: Tensor = self.network(image)
        return embeddings

    def embed(self, image: Tensor) -> Tensor:
        """Embed images [B, 3, H, W], or images and their mirror images, as [B, D]."""
        image = image.to(self.dtype).contiguous(memory_format=self.memory_format)
        embeddings: Tensor = self(image)
        return (embeddings + self(image.flip(-1))) / 2 if self.flip else embeddings

    def try_out(self, size: tuple[int, int]) -> None:
        """Embed a black image of a height and width.

        Raises:
            ValueError: if the network does not take it, or gives something else than [1, D].
        """
        height, width = size
        training = self.training
        try:
            with torch.no_grad():
                embeddings = self.eval()(torch.zeros(1, 3, height, width))
        except Exception as error:  # of whatever kind the network's library has
            raise ValueError(
                f"`preprocessing.size` should suit the network, which does not take images of "
                f"{height} x {width} pixels: {str(error).strip() or type(error).__name__}"
            ) from error
        finally:
            self.train(training)
        shape = list(getattr(embeddings, "shape", ()))
        if len(shape) != 2 or shape[0] != 1:
            raise ValueError(
                "`model` should give embeddings [B, D] for images [B, 3, H, W], got a "
                f"{type(embeddings).__name__} of shape {shape} for [1, 3, {height}, {width}]"
            )
        self.embedding_size = shape[1]

    def on_test_epoch_start(self) -> None:
        """Start from an empty metric, however the processes came to life."""
        self.test_retrieval.reset()

    def test_step(
        self, batch: Sample | EmbeddedSample, batch_idx: int, dataloader_idx: int = 0
    ) -> Tensor:
        """Add a batch of references (dataloader 0) or queries (dataloader 1).

        Returns:
            The embeddings [B, D].

        Raises:
            ValueError: if the embeddings cannot be compared, such as NaN.
        """
        embeddings = (
            batch.embedding if isinstance(batch, EmbeddedSample) else self.embed(batch.image)
        )
        try:
            self.test_retrieval.update(
                embeddings,
                batch.label,
                is_query=dataloader_idx == _QUERY_LOADER,
                indices=batch.index,
                cameras=batch.camera,
            )
        except ValueError as error:
            if self.file is None:
                raise
            raise ValueError(
                f"The network of {self.file.path} cannot be judged: {error}"
            ) from error
        return embeddings

    def on_test_epoch_end(self) -> None:
        """Log all measures, and the numbers of queries that they are means over.

        After that, the embeddings are forgotten: they may fill the memory.
        """
        measures = self.test_retrieval.compute()
        self.retrieval = self.test_retrieval.retrieval
        self.test_retrieval.reset()
        self.log_dict({f"test/{name}": value for name, value in measures.items()})


class Embedder(nn.Module):
    """The network of a module as others use it: from images [B, 3, H, W] to embeddings [B, D]."""

    def __init__(self, model: RetrievalModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Embed images as the evaluation does."""
        return self.model.embed(image)
