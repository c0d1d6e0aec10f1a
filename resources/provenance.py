"""Commit and remote repository of the code that a result was made with."""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def git_commit() -> str:
    """Return the commit of the checkout, with "-dirty" if files differ, or "unknown" outside a checkout.

    An image has no checkout; it states its commit in LGAD_COMMIT.
    """
    if built := os.environ.get("LGAD_COMMIT"):
        return built
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


def remote_url() -> str:
    """Return the web address of the checkout's repository on GitHub or GitLab; empty if it has none."""
    url = _git("remote", "get-url", "origin")
    if url.startswith("git@"):
        host, _, path = url.removeprefix("git@").partition(":")
        url = f"https://{host}/{path}"
    known = any(host in url.split("/")[2] for host in ("github", "gitlab")) if "://" in url else False
    return url.removesuffix(".git") if known and "@" not in url else ""
