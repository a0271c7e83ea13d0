"""The library as somebody else's project installs it, and the application as a checkout runs it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

DEPENDENCIES = {"torch", "torchmetrics", "numpy", "scipy", "jaxtyping"}

EXAMPLE = """\
import sys, torch, exact_retrieval
metric = exact_retrieval.EmbeddingRetrieval()
metric.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([7, 9]))
metric.update(torch.tensor([[2.0, 1.0], [3.0, 1.0]]), torch.tensor([7, 9]), is_query=True)
print(metric.compute()["acc"].item(), *sorted({name.partition(".")[0] for name in sys.modules}))
"""

APPLICATION = {
    "hydra",
    "matplotlib",
    "mlflow",
    "pandas",
    "pyarrow",
    "pytorch_lightning",
    "pytorch_metric_learning",
    "rich",
    "src",
    "torchvision",
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the repository, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet")
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", ".", cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def requirements(entries: list[str], extras: set[str]) -> list[Requirement]:
    """Those that apply here."""
    parsed = map(Requirement, entries)
    given = [{"extra": extra} for extra in ("", *extras)]
    return [r for r in parsed if r.marker is None or any(map(r.marker.evaluate, given))]


def expose(entries: list[str], folder: Path, seen: set[str], extras: set[str]) -> None:
    """Link into a folder what is required, and what that requires in turn, and nothing else."""
    for requirement in requirements(entries, extras):
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        required = distribution(requirement.name)
        for top in {path.parts[0] for path in required.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(required.locate_file(top))
        expose(required.requires or [], folder, seen, requirement.extras)


def test_the_wheel_holds_the_library_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    files = (ROOT / "src" / "exact_retrieval").rglob("*")
    sources = {str(p.relative_to(ROOT / "src")) for p in files if p.suffix in (".py", ".typed")}
    assert set(names) == sources
    assert "exact_retrieval/py.typed" in names


def test_the_library_requires_little(metadata: Message) -> None:
    entries = metadata.get_all("Requires-Dist", [])
    assert {requirement.name for requirement in requirements(entries, set())} == DEPENDENCIES
    everything = {requirement.name for requirement in requirements(entries, {"app"})}
    assert everything > DEPENDENCIES | {"pytorch-lightning", "hydra-core", "mlflow", "matplotlib"}


def test_the_wheel_works_in_a_fresh_environment(
    wheel: Path, metadata: Message, tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    paths = sysconfig.get_paths(vars={"base": str(tmp_path / "env")})
    expose(metadata.get_all("Requires-Dist", []), Path(paths["purelib"]), set(), set())
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-index", wheel, cwd=tmp_path)
    accuracy, *modules = run(python, "-I", "-W", "error", "-c", EXAMPLE, cwd=tmp_path).split()
    assert accuracy == "0.5"
    assert "exact_retrieval" in modules
    assert not APPLICATION & set(modules)


def test_a_checkout_needs_no_installation() -> None:
    """Python finds packages by PYTHONPATH, and so ignores the .pth file of an installation."""
    packages = sysconfig.get_path("purelib")
    python = getattr(sys, "_base_executable", sys.executable)
    assert "ckpt_path" in run(python, "eval.py", "--help", cwd=ROOT, PYTHONPATH=packages)
    code = "from src.eval import evaluate; import src; print(src.__file__)"
    file = ROOT / "src" / "__init__.py"
    assert run(python, "-c", code, cwd=ROOT, PYTHONPATH=packages) == f"{file}\n"
