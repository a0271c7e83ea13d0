import subprocess
from pathlib import Path

from src.tracking.run_tags import describe_run, git_commit


def test_tags_and_counts(tmp_path: Path) -> None:
    described = describe_run(tmp_path, ["small", 1], {"query_images": 5})
    assert described == {"git_commit": "unknown", "tags": "small,1", "query_images": "5"}
    assert describe_run(tmp_path, None, {}) == {"git_commit": "unknown"}


def test_git_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_commit(tmp_path) == "unknown"
    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "+changes"
