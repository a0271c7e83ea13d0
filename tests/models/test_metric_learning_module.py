import pytest
import torch
from pytorch_lightning import Trainer
from torchvision.models import resnet18

from src.datamodules.components.samples import Sample
from src.models.metric_learning_module import MetricLearningModule


@pytest.fixture(scope="module")
def assignment_module() -> MetricLearningModule:
    return MetricLearningModule(num_classes=751, embedding_size=256, lr=0.05, wd=5e-4)


@pytest.fixture
def small_module() -> MetricLearningModule:
    torch.manual_seed(0)
    return MetricLearningModule(num_classes=4, embedding_size=8, backbone="shufflenet_v2_x0_5")


def batch_of(size: int) -> Sample:
    return Sample(
        torch.rand(size, 3, 128, 64),
        torch.arange(size) % 4,
        torch.full((size,), -1),
        torch.arange(size),
    )


def test_names_and_shapes_of_the_weights(assignment_module: MetricLearningModule) -> None:
    expected = {
        f"backbone.{name}": tuple(value.shape)
        for name, value in resnet18(weights=None).state_dict().items()
        if not name.startswith("fc.")
    }
    expected |= {"embedder.weight": (256, 512), "embedder.bias": (256,), "arcface.W": (256, 751)}
    found = {name: tuple(value.shape) for name, value in assignment_module.state_dict().items()}
    assert found == expected


def test_metric_states_stay_out_of_checkpoints(small_module: MetricLearningModule) -> None:
    before = set(small_module.state_dict())
    small_module.eval().test_step(batch_of(4), 0, 0)
    assert set(small_module.state_dict()) == before


def test_the_embedding_is_linear_in_the_backbone_features(
    small_module: MetricLearningModule,
) -> None:
    small_module.eval()
    image = batch_of(2).image
    features = small_module.backbone(image)
    expected = features @ small_module.embedder.weight.T + small_module.embedder.bias
    assert torch.allclose(small_module(image), expected, atol=1e-6)


def test_test_step_sends_loader_0_to_reference_and_1_to_query(
    small_module: MetricLearningModule,
) -> None:
    small_module.eval()
    batch = batch_of(4)
    small_module.test_step(batch, 0, dataloader_idx=0)
    small_module.test_step(batch, 0, dataloader_idx=1)
    metric = small_module.test_retrieval
    assert torch.cat(metric.reference_labels).tolist() == batch.label.tolist()
    assert torch.cat(metric.query_labels).tolist() == batch.label.tolist()
    values = metric.compute()
    assert values["acc"] == values["acc_euclidean"] == 1


def test_a_training_step_lowers_the_loss(small_module: MetricLearningModule) -> None:
    small_module.log = lambda *args, **kwargs: None
    optimizer = small_module.configure_optimizers()["optimizer"]
    batch = batch_of(8)
    losses = []
    for _ in range(5):
        loss = small_module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.usefixtures("unchecked")
def test_another_distance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`distance` should be one of .* got 'l1'"):
        MetricLearningModule(backbone="shufflenet_v2_x0_5", distance="l1")


@pytest.mark.parametrize(
    ("lr_schedule", "expected"),
    [("constant", [1 / 3, 2 / 3, 1, 1, 1, 1]), ("cosine", [1 / 3, 2 / 3, 1, 0.853553, 0.5])],
)
def test_learning_rate(lr_schedule: str, expected: list[float]) -> None:
    module = MetricLearningModule(
        backbone="shufflenet_v2_x0_5", warmup_epochs=2, lr_schedule=lr_schedule
    )
    module.trainer = Trainer(max_epochs=6, logger=False, accelerator="cpu")
    rates = [module._relative_lr(epoch) for epoch in range(len(expected))]
    assert rates == pytest.approx(expected)


def test_another_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`lr_schedule` should be one of .* got 'step'"):
        MetricLearningModule(backbone="shufflenet_v2_x0_5", lr_schedule="step")
