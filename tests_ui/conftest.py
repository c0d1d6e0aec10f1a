"""A small project with results, its two servers as `make ui` starts them, and a real browser."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures" / "tour"
RECIPES = ("enet", "enet-weak")
PATIENCE = 120_000  # milliseconds; a busy machine is not a failure
SIZE = ViewportSize(width=1440, height=900)
LARGE = ViewportSize(width=1700, height=1500)

Shoot = Callable[[str], None]

SETTINGS = """# Made by the tests of the pages.
datasets:
  synthetic: &roads
    kind: synthetic
    image_size: {image_size}
    crop_top: 240
    lane_width: 32
    world: {{seed: 0, {frames}}}
    retrain: {{cron: "0 2 * * *"}}
  more-roads:
    <<: *roads
    world: {{seed: 1, {frames}}}
recipes:
  enet: &enet
    network: {{name: enet, zero_init_residual: false}}
    teacher_network: {{name: enet}}
    teacher: {{{teacher}, threads: 1}}
    student: {{{student}, threads: 1}}
    distillation: {{weight: 2.0}}
  enet-weak:
    <<: *enet
    distillation: {{weight: 0.2}}
"""
QUICK = "steps: 8, batch_size: 4, log_every: 2, validate_every: 4, optimizer: {warmup_steps: 2}"
TINY = {
    "image_size": "[48, 128]",
    "frames": "train: 18, val: 9, test: 9",
    "teacher": QUICK,
    "student": QUICK,
}
LOOKS = "batch_size: 8, log_every: 10, validate_every: 100"
TOUR = {
    "image_size": "[64, 176]",
    "frames": "train: 240, val: 60, test: 270",
    "teacher": f"steps: 300, ema_decay: 0.95, {LOOKS}, optimizer: {{learning_rate: 0.01, warmup_steps: 30}}",
    "student": f"steps: 600, {LOOKS}",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--tour",
        metavar="FOLDER",
        help="keep a larger project in this folder, and take the pictures of docs/tour.md of it",
    )


@dataclass(frozen=True)
class Site:
    """Pages of a project.

    Attributes:
        folder: directory of the project.
        dagster, mlflow: addresses of the pages.
        finds_lanes: True if the students are trained long enough to find lanes, so that one is champion.
    """

    folder: Path
    dagster: str
    mlflow: str
    finds_lanes: bool


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run `make demo` for every recipe, then `make ui`; afterwards SIGTERM must stop both servers."""
    tour = request.config.getoption("--tour")
    folder = Path(tour).resolve() if tour else tmp_path_factory.mktemp("site")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lgad.yaml").write_text(SETTINGS.format(**(TOUR if tour else TINY)), encoding="utf-8")
    shutil.copy(ROOT / "dagster.yaml", folder)
    site = Site(folder, f"http://localhost:{free_port()}", f"http://localhost:{free_port()}", bool(tour))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {
        "LGAD_SETTINGS": str(folder / "lgad.yaml"),
        "DAGSTER_HOME": str(folder),
        "LGAD_DAGSTER_UI": site.dagster,
        "LGAD_MLFLOW_UI": site.mlflow,
    }
    environment.pop("LGAD_STATE", None)
    for recipe in RECIPES:
        command = [sys.executable, str(ROOT / "demo.py"), "--recipe", recipe]
        made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
    ports = [address.rpartition(":")[2] for address in (site.dagster, site.mlflow)]
    command = [sys.executable, str(ROOT / "ui.py"), "--port", ports[0], "--mlflow-port", ports[1]]
    servers = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    output = "".join(iter(lambda: next_line(servers), ""))
    assert site.dagster in output and site.mlflow in output, output
    yield site
    servers.send_signal(signal.SIGTERM)
    assert servers.wait(60) == 0
    assert not [port for port in ports if listens(int(port))]


def next_line(servers: subprocess.Popen) -> str:
    """Return the next line that `make ui` prints, or "" for its last one."""
    assert servers.stdout is not None
    line = servers.stdout.readline()
    return "" if line.startswith("Ctrl-C") else line


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a screen."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.exit("There is no Chromium; install it: apt-get install chromium", returncode=2)
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    names = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--no-first-run", *quiet, names]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new window; whatever it loads must come from this machine."""
    context = browser.new_context(viewport=SIZE, timezone_id="UTC")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield page
    context.close()


@pytest.fixture
def shoot(request: pytest.FixtureRequest, page: Page) -> Shoot:
    """Return a function that takes a picture for the docs; without --tour it does nothing."""

    def take(name: str) -> None:
        if request.config.getoption("--tour"):
            page.wait_for_timeout(1500)  # animations have ended
            PICTURES.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=PICTURES / f"{name}.jpg", type="jpeg", quality=78)

    return take


def is_drawn(picture: Locator) -> bool:
    """Return True if an <img> is on the page and has loaded."""
    expect(picture).to_be_visible()
    return picture.evaluate("image => image.decode().then(() => image.naturalWidth > 100)")


def free_port() -> int:
    """Return a port that no process listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Return True if a process listens on a port of this machine."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
