"""Paths of the results of one data set, or of one recipe on it, below the state root."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.errors import LgadError

if TYPE_CHECKING:
    from lgad_pipeline.data.shard_index import Origin
    from lgad_pipeline.data.shards import ShardSet

_NETWORK_FILES = ("weights.safetensors", "network.json", "predictor.json", "history.parquet", "training.json")


@dataclass(frozen=True)
class ProjectPaths:
    """Paths of the results of one data set, or of one recipe on it.

    A path of an asset's result has the name of the asset. No property reads or writes a file.

    Attributes:
        state: State root, the directory of all results.
        data_root: Directory of the frames: the user's own, or that of the rendered data set.
        dataset: Name of the data set.
        recipe: Name of the recipe; empty for results of the data set alone.
        has_lane_files: True if the data set has a lane file next to each frame.
        store: Address of the remote copy of the shards; None if there is no remote copy.
        results: Address of the copies of all other results; None if there are none.
        owner: Name of this project in the remote copy of the shards.
        kind: Kind of the data set, such as `culane`.
        shard_limit: Largest size of the shards on a machine, bytes, if they are downloaded as they are
            needed; None to download all of them.
    """

    state: Path
    data_root: Path
    dataset: str
    recipe: str = ""
    has_lane_files: bool = True
    store: str | None = None
    owner: str = ""
    results: str | None = None
    kind: str = "culane"
    shard_limit: int | None = None

    @property
    def recordings(self) -> Path:
        """Directory of the frames; in CULane's layout it has the lane files, too."""
        return self.data_root

    @property
    def rendered(self) -> bool:
        """True if the project renders the frames itself."""
        return self.recordings == rendered_frames(self.state, self.dataset)

    @property
    def annotations(self) -> Path:
        """Directory of the annotated lane files."""
        return self.data_root if self.has_lane_files else self._data / "annotations"

    @property
    def frames(self) -> Path:
        """Parquet file of the frame table."""
        return self._data / "frames.parquet"

    @property
    def rejected(self) -> Path:
        """Parquet file of the rejected items of ingestion, with reasons."""
        return self._data / "rejected.parquet"

    @property
    def refused_frames(self) -> Path:
        """Parquet file of the frames table of the last ingestion, if it was refused: `frames` is kept."""
        return self._data / "refused" / "frames.parquet"

    @property
    def refused_items(self) -> Path:
        """Parquet file of the rejected items of the last ingestion, if its frames table was refused."""
        return self._data / "refused" / "rejected.parquet"

    @property
    def lane_labels(self) -> Path:
        """Parquet file of the lane labels."""
        return self._data / "labels.parquet"

    @property
    def shards(self) -> Path:
        """Directory of the packed shards on this machine; `fetch_shards` completes it from a remote copy."""
        return self._data / "shards"

    @property
    def streamed_shards(self) -> Path:
        """Directory of the index of shards that stay in the store."""
        return self._data / "streamed_shards"

    @property
    def shard_cache(self) -> Path:
        """Directory of the downloaded files of streamed shards, of all data sets."""
        return self.state / "shard_cache"

    @property
    def origin(self) -> "Origin":
        """Project and data set that the shards belong to, as stated in their index."""
        from lgad_pipeline.data.shard_index import Origin

        return Origin(self.owner, self.dataset)

    @property
    def teacher(self) -> Path:
        """Directory of the trained teacher."""
        return self.network("teacher")

    @property
    def student_alone(self) -> Path:
        """Directory of the student that was trained on labels alone."""
        return self.network("student_alone")

    @property
    def student_lgad(self) -> Path:
        """Directory of the student that was trained with attention distillation."""
        return self.network("student_lgad")

    @property
    def predictions(self) -> Path:
        """Directory of the lane files that both students predicted."""
        return self.state / "predictions" / self.dataset / self.recipe

    @property
    def lane_scores(self) -> Path:
        """Directory of the scores of both students."""
        return self.state / "scores" / self.dataset / self.recipe

    @property
    def gain(self) -> Path:
        """Directory of a study: paired trainings and the difference of their scores."""
        return self.state / "gain" / self.dataset / self.recipe

    @property
    def suggestions(self) -> Path:
        """Directory of the suggested frames, with a folder for each set of suggestions."""
        return self.state / "suggestions" / self.dataset

    @property
    def onnx_graph(self) -> Path:
        """ONNX file of the student with LGAD."""
        return self.state / "exports" / self.dataset / self.recipe / "student.onnx"

    @property
    def report(self) -> Path:
        """HTML file of the report."""
        return self.state / "reports" / f"{self.dataset}-{self.recipe}.html"

    def network(self, role: str) -> Path:
        """Return the directory of a trained network.

        Args:
            role: `teacher`, `student_alone` or `student_lgad`.
        """
        return self.state / "models" / self.dataset / self.recipe / role

    def manifest(self, asset: str) -> Path:
        """Return the JSON file with the manifest of what an asset has written."""
        return self.state / "manifests" / self.dataset / self.recipe / f"{asset}.json"

    def outputs(self, asset: str) -> tuple[Path, ...]:
        """Return the files and directories that an asset writes; empty if it writes none.

        Args:
            asset: Name of the asset. `recordings` writes only if its frames are rendered.
        """
        annotations = () if self.has_lane_files else (self.annotations,)
        written: dict[str, tuple[Path, ...]] = {
            "recordings": (self.recordings,) if self.rendered else (),
            "frames": (self.frames, self.rejected, *annotations),
            "lane_labels": (self.lane_labels,),
            "shards": (self.shards,),
            **{
                role: tuple(self.network(role) / name for name in _NETWORK_FILES)
                for role in ("teacher", *STUDENTS)
            },
            "predictions": (self.predictions,),
            "lane_scores": (self.lane_scores,),
            "onnx_graph": (self.onnx_graph,),
            "report": (self.report,),
        }
        return written.get(asset, ())

    @property
    def _data(self) -> Path:
        return self.state / "data" / self.dataset


def rendered_frames(state: Path, dataset: str) -> Path:
    """Return the directory that the frames of a synthetic data set are rendered to."""
    return state / "data" / dataset / "recordings"


def initial_networks(state: Path) -> Path:
    """Return the directory of the registered versions that students start from, named by their content."""
    return state / "initial"


_SETTING = re.compile(r"`(root|shards|owner|follow_links)\b|\b(frame_size|max_rejected|lane_types)\b")


@contextmanager
def settings_named(dataset: str) -> Iterator[None]:
    """Add the keys of lgad.yaml to errors of the library whose remedy names a setting of the data set.

    Raises:
        LgadError: the error of the library; "(in lgad.yaml: datasets.drives.frame_size)" is added if its
            remedy names a setting of the data set.
    """
    try:
        yield
    except LgadError as error:
        settings = {key for match in _SETTING.findall(str(error)) for key in match if key}
        if not settings or "lgad.yaml" in str(error):
            raise
        keys = [key if key == "owner" else f"datasets.{dataset}.{key}" for key in sorted(settings)]
        raise LgadError(f"{str(error).rstrip('.')} (in lgad.yaml: {', '.join(keys)}).") from error


def fetch_shards(paths: ProjectPaths) -> Path:
    """Complete the shards on this machine from their remote copy, if there is one.

    With a limit (`shard_cache_gb` in lgad.yaml), the index alone is fetched; `ShardSet` downloads the rest.

    Returns:
        The directory of the shards.

    Raises:
        LgadError: the remote copy cannot be reached, is incomplete, or belongs to another project.
    """
    if paths.store is None:
        return paths.shards
    with settings_named(paths.dataset):
        if paths.shard_limit is None:
            from lgad_pipeline.data.remote_shards import fetch

            return fetch(paths.store, paths.shards, origin=paths.origin)
        from lgad_pipeline.data.streamed_shards import stream

        return stream(
            paths.store,
            paths.streamed_shards,
            origin=paths.origin,
            cache=paths.shard_cache,
            limit=paths.shard_limit,
        )


def open_shards(paths: ProjectPaths) -> "ShardSet":
    """Open the shards, after a download from their remote copy if this machine does not have them."""
    from lgad_pipeline.data.shards import ShardSet

    return ShardSet.open(fetch_shards(paths))
