import os
import signal
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Networks this small train fastest on one thread, also where the cores are busy. Torch reads it when loaded.
os.environ["OMP_NUM_THREADS"] = "1"

# How fast the machine is decides over no test.
settings.register_profile("lgad", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lgad")

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack inputs and expected outputs of the official tools, a directory each."""
    folder = tmp_path_factory.mktemp("official")
    for name in ("culane_eval", "culane_eval_odd", "tusimple_eval"):
        zipfile.ZipFile(FIXTURES / f"{name}.zip").extractall(folder / name)
    return folder


def pytest_configure() -> None:
    """Restore Ctrl-C for child processes: a shell switches it off for programs in the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
