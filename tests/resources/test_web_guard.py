"""What Dagster's guarded web server answers, asked as browsers and as command-line clients ask."""

import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import dagster as dg
import pytest

from tests.guarded_dagster import WIPE_ADDRESS, WIPE_JSON, guarded_dagster, is_known, request

JSON = {"Content-Type": "application/json"}
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "graphql-ws",
}


@pytest.fixture(scope="module")
def port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def instance(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    names = {"LGAD_ALLOWED_HOSTS": "pipeline:3000, *.example.org", "LGAD_DAGSTER_UI": "https://lanes.example"}
    names["LGAD_MLFLOW_UI"] = "https://mlflow.example/"
    with guarded_dagster(tmp_path_factory.mktemp("guarded"), port, **names) as instance:
        yield instance


ATTACKS = {
    "an image": ("GET", WIPE_ADDRESS, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
    "an image in an old browser": ("GET", WIPE_ADDRESS, {}),
    "a link": (
        *("GET", WIPE_ADDRESS),
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ),
    "a form": ("POST", WIPE_ADDRESS, {"Content-Type": "text/plain"}),
    "a form of a page": ("POST", "/graphql", JSON | {"Origin": "https://evil.example"}),
    "a page without origin": ("POST", "/graphql", JSON | {"Origin": "null"}),
    "a page at another port": ("POST", "/graphql", JSON | {"Origin": "http://localhost:5000"}),
    "the same name by https": ("POST", "/graphql", JSON | {"Origin": "https://localhost"}),
    "a page of the same site": ("POST", "/graphql", JSON | {"Sec-Fetch-Site": "same-site"}),
    "a rebound name": ("POST", "/graphql", JSON | {"Host": "evil.example", "Origin": "http://evil.example"}),
    "a name that begins well": ("POST", "/graphql", JSON | {"Host": "localhost.evil.example"}),
    "a name that ends well": ("POST", "/graphql", JSON | {"Host": "evil-example.org"}),
    "no name": ("POST", "/graphql", JSON | {"Host": ""}),
    "a frame": (
        *("GET", "/"),
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ),
    "a report of another site": ("POST", "/report_asset_materialization/table", {"Origin": "http://evil"}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused_with_a_sentence_and_changes_nothing(instance, port, attack):
    method, path, headers = ATTACKS[attack]
    status, text = request(port, method, path, headers, WIPE_JSON if method == "POST" else "")
    assert status == 403 and text.endswith(".\n") and text.count("\n") == 1
    assert is_known(instance)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "127.0.0.1:3000"},
        {"Host": "[::1]:3000"},
        {"Host": "LOCALHOST"},
        {"Host": "lanes.example"},
        {"Host": "pipeline:3000"},
        {"Host": "desk.example.org:8080"},
        {"Host": "lanes.example", "Origin": "https://lanes.example", "Sec-Fetch-Site": "same-origin"},
        {"Host": "lanes.example:443", "Origin": "https://lanes.example"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_own_pages_links_and_scripts_are_answered(instance, port, headers):
    status, text = request(port, "GET", "/", headers)
    assert status == 200 and "<!DOCTYPE html>" in text


def test_a_listed_port_is_the_only_one(instance, port):
    assert request(port, "GET", "/", {"Host": "pipeline:4000"})[0] == 403


def test_two_host_headers_are_refused(instance, port):
    with closing(socket.create_connection(("127.0.0.1", port))) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert raw.recv(100).split()[1] in (b"400", b"403")


def test_websocket_opens_for_own_pages_alone(instance, port):
    own = {"Origin": f"http://localhost:{port}"}
    assert request(port, "GET", "/graphql", HANDSHAKE | own)[0] == 101
    assert request(port, "GET", "/graphql", HANDSHAKE)[0] == 101  # a command-line client
    for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, own | {"Host": "evil.example"}):
        assert request(port, "GET", "/graphql", HANDSHAKE | foreign)[0] == 403


def test_links_to_mlflow_lead_to_its_present_address(instance, port):
    artifact = "/mlflow/get-artifact?path=loss.svg&run_uuid=12"
    for path in ("/mlflow", "/mlflow/", artifact, "/mlflow//evil.example"):
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            expected = "https://mlflow.example" + (path.removeprefix("/mlflow") or "/")
            assert (answer.status, answer.getheader("Location")) == (307, expected)
    assert request(port, "GET", "/mlflow-of-others")[0] == 200  # one of Dagster's own pages


def test_scripts_may_command(instance, port):
    status, text = request(port, "POST", "/graphql", JSON, WIPE_JSON)
    assert (status, text) == (200, '{"data":{"wipeAssets":{"__typename":"AssetWipeSuccess"}}}')
    assert not is_known(instance)
