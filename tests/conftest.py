import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pyarrow import fs

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


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Address of a server that speaks S3."""
    from tests.support.s3 import s3_server

    with s3_server() as address:
        yield address


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> fs.FileSystem:
    """An empty bucket `drives`, which the environment gives access to."""
    from tests.support.s3 import empty_bucket, s3_variables

    for name, value in s3_variables(s3_address).items():
        monkeypatch.setenv(name, value)
    return empty_bucket("drives")


def pytest_configure() -> None:
    """Restore Ctrl-C for child processes: a shell switches it off for programs in the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
