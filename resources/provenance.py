"""Which commit of the code a result was made with."""

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def git_commit() -> str:
    """The checkout's commit, with "-dirty" when files differ from it; "unknown" outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    return f"{commit}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        finished = subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip() if finished.returncode == 0 else ""
