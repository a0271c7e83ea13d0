"""`python eval.py` over several processes, as a user starts them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from src.eval import evaluate
from tests.conftest import QUERY, REFERENCE, ROOT, TRAIN, ComposeConfig, make_prepared
from tests.faults.fault import Faults
from tests.helpers import only_run

FAULTS = Faults("Several processes, and signals")
UNREADABLE = FAULTS.describe(
    "One process cannot read an image", "Error of rank 1: Cannot read the image <image>"
)
KILLED = {
    victim: FAULTS.describe(
        f"Process {victim} of 2 is killed",
        f"Error: rank {victim} ended early, so rank {1 - victim} ends too",
        code=1 if victim else -signal.SIGKILL,
    )
    for victim in (0, 1)
}
SIGNALS = {
    signum: FAULTS.describe(
        f"A command gets {signum.name}",
        f"Ended by {signum.name} before it was done. Its files: <folder>",
        code=128 + signum,
    )
    for signum in (signal.SIGTERM, signal.SIGINT)
}
SEPARATE = FAULTS.describe(
    "torchrun starts processes that do not work together",
    "`trainer` should be distributed because torchrun started 2 processes, got 1",
)

_SECONDS = 120
Command = list[str]


class Ended(NamedTuple):
    """What is left of a job: exit codes and output of all its commands."""

    codes: list[int]
    out: str
    err: str


def ddp(*overrides: str) -> list[Command]:
    """One command, which starts the other processes."""
    return [[sys.executable, str(ROOT / "eval.py"), "trainer=ddp_sim", *overrides]]


def torchrun(*overrides: str, strategy: str = "ddp") -> list[Command]:
    """Two commands, as on two machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"]
    agent += ["--master_addr=127.0.0.1", f"--master_port={port}"]
    script = ["--", str(ROOT / "eval.py"), "trainer=ddp", f"trainer.strategy={strategy}"]
    script += ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2"]
    return [[*agent, f"--node_rank={node}", *script, *overrides] for node in range(2)]


class Job:
    """Commands that run together in a folder."""

    def __init__(self, commands: list[Command], folder: Path, environment: dict[str, str]) -> None:
        self._processes = [
            subprocess.Popen(
                [*command, f"paths.log_dir={folder / 'logs'}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
            for command in commands
        ]

    def wait(self) -> Ended:
        """Wait for all processes of the job, down to the guard of its run: they share the pipes."""
        outputs = [process.communicate(timeout=_SECONDS) for process in self._processes]
        out, err = ("".join(parts) for parts in zip(*outputs, strict=True))
        return Ended([process.returncode for process in self._processes], out, err)

    def end(self) -> None:
        """Kill what is left of the sessions that this job began."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


StartJob = Callable[[list[Command]], Job]


@pytest.fixture
def start(
    tmp_path: Path, process_environment: dict[str, str], mlflow_uri: str
) -> Iterator[StartJob]:
    jobs = []

    def start(commands: list[Command]) -> Job:
        jobs.append(Job(commands, tmp_path, process_environment))
        return jobs[-1]

    yield start
    for job in jobs:
        job.end()


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(ddp, id="2_processes"),
        pytest.param(torchrun, id="2_machines"),
    ],
)
def test_equals_one_process(
    commands: Callable[..., list[Command]],
    start: StartJob,
    eval_config: ComposeConfig,
    prepared_data: Path,
    checkpoint: Path,
    tmp_path: Path,
    mlflow_uri: str,
) -> None:
    expected, _ = evaluate(
        eval_config("logger=none", "datamodule.batch_size=1", "callbacks=default")
    )
    given = [f"datamodule.data_dir={prepared_data}", f"ckpt_path={checkpoint}"]
    ended = start(commands(*given, "datamodule.batch_size=1")).wait()
    assert set(ended.codes) == {0}, ended.err
    run = only_run(mlflow_uri)
    assert run.info.status == "FINISHED"
    values = {name: value.item() for name, value in expected.items()}
    assert run.data.metrics == {**values, "test/cmc": 1}  # the last point of the curve
    (result,) = (tmp_path / "logs").rglob("result.json")
    assert json.loads(result.read_text())["metrics"] == values
    tables = (folder / "predictions.parquet" for folder in (tmp_path / "run", result.parent))
    pd.testing.assert_frame_equal(*map(pd.read_parquet, tables))
    assert ended.out.count("1-NN accuracy") == ended.out.count("embedding query") == 1
    assert "9/9" in ended.out
    assert "5/5" in ended.out
    assert ended.err.replace("*", "").strip() == ""


def test_more_processes_than_queries(
    start: StartJob, tmp_path: Path, checkpoint: Path, eval_config: ComposeConfig, mlflow_uri: str
) -> None:
    sets = {"reference": {"0001": [1], "0002": [1, 2, 3]}, "query": {"0001": [2]}}
    data_dir = f"datamodule.data_dir={make_prepared(tmp_path / 'data', **sets)}"
    expected, _ = evaluate(eval_config("logger=none", data_dir))
    ended = start(
        ddp("trainer.devices=3", data_dir, f"ckpt_path={checkpoint}", "callbacks=none")
    ).wait()
    assert ended.codes == [0], ended.err
    values = {name: value.item() for name, value in expected.items()}
    assert only_run(mlflow_uri).data.metrics == {**values, "test/cmc": 1}


def test_training_where_every_rank_validates_something_else(
    start: StartJob, tmp_path: Path, mlflow_uri: str
) -> None:
    val = {"0003": [3], "0099": [1]}  # rank 0 gets the known person, rank 1 the other
    sets = {"train": TRAIN, "val": val, "reference": REFERENCE, "query": QUERY}
    data_dir = make_prepared(tmp_path / "data", **sets)
    given = ["initial_weights=random", "model.backbone=shufflenet_v2_x0_5", "trainer.max_epochs=2"]
    given += [f"datamodule.data_dir={data_dir}", "datamodule.batch_size=2", "test=true"]
    (command,) = ddp(*given)
    command[1] = str(ROOT / "train.py")
    ended = start([command]).wait()
    assert ended.codes == [0], ended.err
    run = only_run(mlflow_uri)
    assert run.info.status == "FINISHED"
    assert run.data.metrics.keys() >= {"val/nn_acc", "val/acc", "val/loss", "train/loss"}
    assert run.data.metrics["val/nn_acc"] == 0  # a lonely sample has no neighbour
    (result,) = (tmp_path / "logs").rglob("result.json")
    evaluated = json.loads(result.read_text())["metrics"]
    assert "test/acc" in evaluated
    assert evaluated.items() <= run.data.metrics.items()


@pytest.mark.parametrize("commands", [ddp, torchrun])
def test_an_image_that_one_rank_cannot_read(
    commands: Callable[..., list[Command]],
    start: StartJob,
    tmp_path: Path,
    checkpoint: Path,
    mlflow_uri: str,
) -> None:
    data_dir = make_prepared(tmp_path / "data", reference=REFERENCE, query=QUERY)
    image = sorted((data_dir / "query").rglob("*.jpg"))[1]  # rank 1 begins with the second
    image.write_bytes(image.read_bytes()[:-300])
    job = start(commands(f"datamodule.data_dir={data_dir}", f"ckpt_path={checkpoint}"))
    ended = job.wait()
    assert 0 not in ended.codes
    assert re.search(UNREADABLE.pattern, ended.err)
    assert str(image) in ended.err
    assert "ValueError" not in ended.err  # a message, no traceback
    assert "RuntimeError" not in ended.err
    assert only_run(mlflow_uri).info.status == "FAILED"


@pytest.mark.parametrize("commands", [ddp, torchrun])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process(
    commands: Callable[..., list[Command]],
    victim: int,
    start: StartJob,
    tmp_path: Path,
    prepared_data: Path,
    checkpoint: Path,
    mlflow_uri: str,
) -> None:
    pause = f"+callbacks.pause={{_target_: tests.helpers.Pause, folder: {tmp_path}}}"
    given = [f"datamodule.data_dir={prepared_data}", f"ckpt_path={checkpoint}", pause]
    job = start(commands(*given))
    ranks = [process_id(tmp_path / f"rank_{rank}") for rank in range(2)]
    os.kill(ranks[victim], signal.SIGKILL)
    ended = job.wait()
    assert 0 not in ended.codes
    assert only_run(mlflow_uri).info.status == "FAILED"
    assert re.search(KILLED[victim].pattern, ended.err)


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("devices", [1, 2])
def test_a_signal(
    signum: signal.Signals,
    devices: int,
    start: StartJob,
    tmp_path: Path,
    prepared_data: Path,
    checkpoint: Path,
    mlflow_uri: str,
) -> None:
    pause = f"+callbacks.pause={{_target_: tests.helpers.Pause, folder: {tmp_path}}}"
    given = [f"datamodule.data_dir={prepared_data}", f"ckpt_path={checkpoint}", pause]
    (command,) = ddp(*given, f"trainer.devices={devices}")
    job = start([command])
    ranks = [process_id(tmp_path / f"rank_{rank}") for rank in range(devices)]
    begin = time.monotonic()
    os.kill(ranks[0], signum)
    ended = job.wait()
    assert time.monotonic() - begin < 20  # a few seconds on a machine with nothing else to do
    assert ended.codes == [SIGNALS[signum].code], ended.err
    assert re.search(SIGNALS[signum].pattern, ended.err)
    assert "terminate called" not in ended.err
    assert "Traceback" not in ended.err
    assert only_run(mlflow_uri).info.status == "KILLED"
    while any(map(is_running, ranks)):
        assert time.monotonic() - begin < 20
        time.sleep(0.1)


def is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


def process_id(path: Path) -> int:
    deadline = time.monotonic() + _SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.1)
    return int(path.read_text())


def test_torchrun_without_a_distributed_strategy(
    start: StartJob, prepared_data: Path, checkpoint: Path
) -> None:
    commands = torchrun(f"datamodule.data_dir={prepared_data}", f"ckpt_path={checkpoint}")
    for command in commands:
        command += ["trainer=cpu", "trainer.num_nodes=1"]
        command.remove("trainer=ddp")
        command.remove("trainer.strategy=ddp")
    ended = start(commands).wait()
    assert 0 not in ended.codes
    assert re.search(SEPARATE.pattern, ended.err)
