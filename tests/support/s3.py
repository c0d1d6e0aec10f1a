"""A real server that speaks S3, on localhost."""

from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer
from pyarrow import fs


@contextmanager
def s3_server() -> Iterator[str]:
    """Start the server on a free port, and yield its address."""
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        started.stop()


def s3_variables(address: str) -> dict[str, str]:
    """Return the environment variables of a client of the server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def empty_bucket(name: str) -> fs.FileSystem:
    """Create a bucket, or empty it; the variables of the client are set."""
    filesystem, _ = fs.FileSystem.from_uri(f"s3://{name}?allow_bucket_creation=true")
    filesystem.create_dir(name)
    filesystem.delete_dir_contents(name)
    return filesystem
