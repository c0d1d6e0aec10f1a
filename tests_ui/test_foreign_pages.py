"""A page of another site, open in a real browser, tries to command Dagster on this machine."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Page

from tests.guarded_dagster import WIPE_ADDRESS, WIPE_JSON, guarded_dagster, is_known
from tests_ui.conftest import free_port

PAGE = """<!DOCTYPE html><title>harmless</title>
<img src="TARGETADDRESS">
<iframe name="hidden" src="TARGET/"></iframe>
<form method="post" enctype="text/plain" target="hidden" action="TARGETADDRESS"></form>
<script>
window.opened = "pending";
async function attack() {
  document.forms[0].submit();
  await fetch("TARGETADDRESS", {mode: "no-cors"}).catch(() => 0);
  await fetch("TARGET/graphql", {method: "POST", mode: "no-cors", body: BODY}).catch(() => 0);
  await fetch("TARGET/graphql", {method: "POST", body: BODY, headers: {"Content-Type": "application/json"}})
    .catch(() => 0);
  const socket = new WebSocket("TARGET/graphql".replace("http", "ws"), "graphql-ws");
  window.opened = await new Promise(done => {
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  });
}
</script>
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def instance(port: int, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with guarded_dagster(tmp_path / "dagster", port) as instance:
        yield instance


@pytest.fixture
def foreign(port: int, tmp_path: Path) -> Iterator[str]:
    """The address of a page of another site."""
    target = f"http://localhost:{port}"
    text = (
        PAGE.replace("ADDRESS", WIPE_ADDRESS).replace("TARGET", target).replace("BODY", json.dumps(WIPE_JSON))
    )
    (tmp_path / "index.html").write_text(text)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


def test_a_foreign_page_commands_nothing(instance, foreign, page: Page):
    page.goto(foreign)
    page.evaluate("attack()")
    assert page.evaluate("window.opened") == "refused"
    page.wait_for_load_state("networkidle")
    assert is_known(instance)


def test_a_foreign_name_that_leads_to_this_machine_is_not_answered(instance, port, page: Page):
    answer = page.goto(f"http://evil.example:{port}/")
    assert answer is not None and answer.status == 403
    assert "does not answer to the host name 'evil.example" in answer.text()


def test_the_pages_themselves_work_and_command(instance, port, page: Page):
    page.goto(f"http://localhost:{port}/runs")
    page.get_by_text("Runs", exact=True).first.wait_for()
    with page.expect_websocket() as opened:
        page.goto(f"http://localhost:{port}/locations")
    assert "/graphql" in opened.value.url
    sent = f"fetch('/graphql', {{method: 'POST', body: {json.dumps(WIPE_JSON)}, "
    done = page.evaluate(
        sent + "headers: {'Content-Type': 'application/json'}}).then(answer => answer.json())"
    )
    assert done == {"data": {"wipeAssets": {"__typename": "AssetWipeSuccess"}}}
    assert not is_known(instance)
