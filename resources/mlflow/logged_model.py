"""Student as an MLflow pyfunc model: weights, code, requirements, and the digest of its files."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from importlib.metadata import version as installed
from pathlib import Path

import lgad_pipeline
from resources.mlflow.journal import RunJournal
from resources.mlflow.resource import MlflowTracking

NETWORK_FILES = ("weights.safetensors", "network.json", "predictor.json")
_CODE = Path(__file__).with_name("served_model.py")
_NEEDS = (
    "mlflow",
    "torch",
    "numpy",
    "opencv-python-headless",
    "pydantic",
    "safetensors",
    "pandas",
    "pyarrow",
)
_SAME_FILES = {"opencv-python-headless": "opencv-python"}
"""Packages of a served model whose files another package brings here.

An image from `mlflow models build-docker` has none of the desktop libraries that opencv-python needs.
"""
_ONNX_NEEDS = ("mlflow", "numpy", "onnx", "onnxruntime")


def files_digest(folder: Path) -> str:
    """Return the fingerprint of the files that prediction reads from the directory of a network."""
    digest = blake2b(digest_size=16)
    for name in NETWORK_FILES:
        path = folder / name
        digest.update(blake2b(path.read_bytes()).digest() if path.is_file() else b"missing")
    return digest.hexdigest()


def log_model(
    tracking: MlflowTracking, run_id: str, *, folder: Path, graph: Path, example: bytes
) -> tuple[str, str]:
    """Log weights and code of a student in its MLflow run, and its graph as a model of the flavour ONNX.

    Args:
        tracking: The MLflow store.
        run_id: Id of the MLflow run.
        folder: Directory of weights.safetensors, network.json and predictor.json.
        graph: ONNX file of the student.
        example: Contents of a JPEG file, the input example of the model.

    Returns:
        Address and id of the logged model.
    """
    import mlflow
    import onnx
    from mlflow import onnx as onnx_flavour

    with (
        _ended_as_before(tracking, run_id, folder),
        _no_advice_on_types(),
        _no_mismatch_of_same_files(),
        mlflow.start_run(run_id=run_id),
        tempfile.TemporaryDirectory() as scratch,
    ):
        logged = mlflow.pyfunc.log_model(
            name="student",
            python_model=str(_CODE),
            artifacts={"network": str(_portable(folder, graph, Path(scratch)))},
            code_paths=[str(Path(lgad_pipeline.__file__).parent)],
            input_example=[example],
            pip_requirements=_requirements(_NEEDS),
        )
        onnx_flavour.log_model(
            onnx.load(graph), name="student_onnx", pip_requirements=_requirements(_ONNX_NEEDS)
        )
    return logged.model_uri, str(logged.model_id)


@contextmanager
def _ended_as_before(tracking: MlflowTracking, run_id: str, folder: Path) -> Iterator[None]:
    """Restore status and end of a training's run, which MLflow opens and ends to log a model.

    They are those of the run journal: an earlier attempt may have failed and left others on the server.
    """
    info, record = tracking.client.get_run(run_id).info, RunJournal(folder).read_record()
    status, ended = info.status, info.end_time
    if record is not None and record.status != "RUNNING":
        status, ended = record.status, record.ended
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the server may be away; the next attempt restores them
            tracking.client.set_terminated(run_id, status=status, end_time=ended)
        raise
    tracking.client.set_terminated(run_id, status=status, end_time=ended)


@contextmanager
def _no_advice_on_types() -> Iterator[None]:
    """Hide MLflow's advice to use other type hints: a frame is an array or bytes, and `predict` checks it.

    MLflow sets its own warning filters, so all warnings are collected first.
    """
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        if "type hint" not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def _no_mismatch_of_same_files() -> Iterator[None]:
    """Hide MLflow's warning that packages of `_SAME_FILES` are not installed, unless others mismatch, too."""

    def is_needed(record: logging.LogRecord) -> bool:
        lines = [line for line in record.getMessage().splitlines() if line.startswith(" - ")]
        return not lines or any(line.split()[1] not in _SAME_FILES for line in lines)

    logger = logging.getLogger("mlflow.utils.requirements_utils")
    logger.addFilter(is_needed)
    try:
        yield
    finally:
        logger.removeFilter(is_needed)


def _portable(folder: Path, graph: Path, scratch: Path) -> Path:
    """Copy the files that prediction needs, without those of the training, to a directory `network`."""
    copy = scratch / "network"
    copy.mkdir()
    copy_files((*(folder / name for name in NETWORK_FILES), graph), copy)
    return copy


def copy_files(files: Iterable[Path], folder: Path) -> None:
    """Copy files into a directory."""
    for file in files:
        shutil.copy2(file, folder / file.name)


def _requirements(packages: Sequence[str]) -> list[str]:
    versions = [installed(_SAME_FILES.get(package, package)).split("+")[0] for package in packages]
    return [f"{package}=={version}" for package, version in zip(packages, versions, strict=True)]
