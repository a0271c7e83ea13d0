"""Tags that say what a run was made from."""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from src.utils.multirun import is_multirun


def describe_run(
    root_dir: str | Path, tags: Iterable[object] | None, counts: Mapping[str, int]
) -> dict[str, str]:
    """Return the tags of a run: commit, tags of the user's choice, and the size of its sets.

    Args:
        root_dir: folder of the project.
        tags: of the user's choice, joined under the name "tags"; None counts as none.
        counts: of images and identities, by name.
    """
    described = {"git_commit": git_commit(root_dir)}
    if tags:
        described["tags"] = ",".join(map(str, tags))
    return described | {name: str(count) for name, count in counts.items()}


def multirun_tags() -> dict[str, str]:
    """Return what the runs of a multirun have in common, and what is peculiar to this one.

    Returns:
        The folder of the multirun under "multirun", and the options of this run under "overrides";
        nothing if this is no multirun.
    """
    if not is_multirun():
        return {}
    hydra = HydraConfig.get()
    return {"multirun": hydra.sweep.dir, "overrides": " ".join(hydra.overrides.task)}


def git_commit(folder: str | Path) -> str:
    """Return the commit checked out, with "+changes" if tracked files differ, or "unknown"."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(folder, "status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: str | Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
