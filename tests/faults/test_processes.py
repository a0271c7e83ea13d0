"""Commands as a user starts them: what they need to write, and what happens when they are ended."""

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from src.tracking.run_guard import RunGuard
from tests.conftest import ROOT
from tests.faults.fault import Fault, Faults, Seen

FAULTS = Faults("Output, multiruns and processes")

_SECONDS = 120


class Given(NamedTuple):
    """What a command is started with."""

    arguments: list[str]
    environment: dict[str, str]
    folder: Path


Run = Callable[[Given], tuple[str, int]]


def command(task: str, given: Given, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / f"{task}.py"), *given.arguments, *arguments]


def complete(given: Given, arguments: list[str], **options: object) -> tuple[str, int]:
    done = subprocess.run(  # type: ignore[call-overload]
        arguments,
        stderr=subprocess.PIPE,
        env=given.environment,
        text=True,
        timeout=_SECONDS,
        **{"stdout": subprocess.PIPE} | options,
    )
    return f"{done.stdout}{done.stderr}", done.returncode


def add(name: str, shown: str, code: int = 1) -> Callable[[Run], Run]:
    def add(run: Run) -> Run:
        FAULTS.append(Fault(name, shown, run, code))  # type: ignore[arg-type]
        return run

    return add


@add(
    "The folder of the logs cannot be made",
    "Error: `paths.log_dir` should be a folder with space that can be written to, but writing to "
    "<folder> fails: [Errno 20] Not a directory: <folder>",
)
def _(given: Given) -> tuple[str, int]:
    (given.folder / "file").touch()
    return complete(
        given, command("eval", given, f"paths.log_dir={given.folder / 'file' / 'logs'}")
    )


@add(
    "The disk is full, or a quota is used up",
    "Error: `paths.log_dir` should be a folder with space that can be written to, but writing to "
    "<folder> fails: [Errno 27] File too large",
)
def _(given: Given) -> tuple[str, int]:
    limit = 2**19
    return complete(
        given,
        command("train", given),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


@add("An option is misspelt", "Could not override 'ckptpath'", code=1)
def _(given: Given) -> tuple[str, int]:
    return complete(given, command("eval", given, "ckptpath=a.ckpt"))


@add(
    "One run of a multirun fails",
    "Error: 1 run failed:\n  #1 <options>: No checkpoint at bad.ckpt",
)
def _(given: Given) -> tuple[str, int]:
    (ckpt_path,) = (each for each in given.arguments if each.startswith("ckpt_path="))
    given.arguments.remove(ckpt_path)
    checkpoints = f"{ckpt_path},bad.ckpt,{ckpt_path.removeprefix('ckpt_path=')}"
    output, code = complete(given, command("eval", given, checkpoints, "-m"))
    assert output.count("test/acc ") == 2
    return output, code


@add("The terminal is full, or closed", "Error: [Errno 28] No space left on device", code=1)
def _(given: Given) -> tuple[str, int]:
    with open("/dev/full", "w") as full:
        seen = complete(given, command("eval", given), stdout=full)
    assert list(given.folder.rglob("result.json"))
    return seen


@add(
    "The first process is killed while another one starts",
    "Error: rank 0 ended early, so rank 1 ends too",
    code=-signal.SIGKILL,
)
def _(given: Given) -> tuple[str, int]:
    job = subprocess.Popen(
        command("eval", given, "trainer=ddp_sim"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=given.environment,
        text=True,
    )
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children")
    while not any(b"hydra" in cmdline(child) for child in children.read_text().split()):
        assert job.poll() is None
        time.sleep(0.02)
    job.kill()
    output, _ = job.communicate(timeout=_SECONDS)  # ends when all have closed the pipe
    return output, job.returncode


def cmdline(process: str | int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


@FAULTS.parametrize()
def test_fault(
    fault: Fault,
    tmp_path: Path,
    prepared_data: Path,
    checkpoint: Path,
    process_environment: dict[str, str],
) -> None:
    arguments = [f"datamodule.data_dir={prepared_data}", f"ckpt_path={checkpoint}"]
    arguments += ["analysis.report=false", "embeddings.keep=false", "logger=none"]
    arguments += ["callbacks.progress_bar.refresh_rate=0", f"paths.log_dir={tmp_path / 'logs'}"]
    given = Given(arguments, process_environment, tmp_path)
    Seen(*fault.provoke(given)).check(fault)  # type: ignore[arg-type, misc]


def test_a_password_reaches_no_file_and_no_terminal(
    tmp_path: Path, prepared_data: Path, checkpoint: Path, process_environment: dict[str, str]
) -> None:
    given = Given([], process_environment, tmp_path)
    output, code = complete(
        given,
        command(
            "eval",
            given,
            f"datamodule.data_dir={prepared_data}",
            f"ckpt_path={checkpoint}",
            f"paths.log_dir={tmp_path / 'logs'}",
            "logger=[mlflow,csv]",
            "extras.print_config=true",
            "analysis.pictures=false",
            "logger.mlflow.tracking_uri=http://alice:S3cretPw@127.0.0.1:9",
        ),
    )
    assert code == 1
    assert "NOT recorded: MLFlowLogger" in output
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in written}
    assert names > {
        "report.html",
        "hparams.yaml",
        "config.yaml",
        "overrides.yaml",
        "unrecorded.json",
    }
    assert "http://alice:***@127.0.0.1:9" in output
    assert [path for path in written if b"S3cretPw" in path.read_bytes()] == []
    assert "S3cretPw" not in output


@pytest.mark.parametrize("uri", ["http://alice:S3cretPw@127.0.0.1:9"])
def test_a_password_is_no_argument_of_the_guard(uri: str) -> None:
    guard = RunGuard(uri, "0" * 32)
    while not (arguments := cmdline(guard._process.pid)):  # the kernel has yet to note them
        time.sleep(0.02)
    assert b"run_guard" in arguments
    assert b"S3cretPw" not in arguments
    guard.end(is_closed=True)
