"""Streamlit script: a frame or clip with a chosen model; `lgad app` starts it."""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import streamlit as st

from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.inference.input_frames import distortion
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.settings import settings_path
from lgad_pipeline.visualization.network_views import NetworkViews, student_views, teacher_views
from lgad_pipeline.visualization.overlays import draw_label_map, legend
from lgad_pipeline.wording import counted
from resources.mlflow.resource import MlflowTracking, default_tracking
from resources.paths import open_shards
from resources.playground.models import (
    ModelChoice,
    model_choices,
    networks_in,
    registered_network,
    role_folders,
)
from resources.playground.uploads import (
    MOST_CLIP_FRAMES,
    SUFFIXES,
    clip_frame,
    is_clip,
    uploaded_picture,
)
from resources.project import Project

TITLES = {"student_alone": "Student alone", "student_lgad": "Student with LGAD", "teacher": "Teacher"}
FOLDER = ModelChoice("a folder …")


class Frame(NamedTuple):
    """Frame to try.

    Attributes:
        name: name for the page.
        image: uint8 (H, W, 3) RGB.
        packed: network input and label map, if the frame is one of a data set; uint8 (h, w, 3) and (h, w).
    """

    name: str
    image: np.ndarray
    packed: tuple[np.ndarray, np.ndarray] | None = None


def main() -> None:
    """Draw the page; Streamlit runs this function again after every input."""
    st.set_page_config(page_title="LGAD lanes", layout="wide")
    st.title("Lanes of a frame")
    project = Project(file=str(settings_path()))
    tracking = default_tracking(settings_path().parent)
    with st.sidebar:
        choice = _choose(project, tracking)
        if choice is None:
            return
        networks = _networks(project, tracking, choice)
        frame = _frame(project, choice)
    if frame is None:
        st.info("Choose a frame of the data set, or drop a picture or a clip on the left.")
        return
    st.subheader(frame.name)
    _show(frame, networks)


def _choose(project: Project, tracking: MlflowTracking) -> ModelChoice | None:
    try:
        with tracking.explained():
            choices = [*model_choices(project, tracking), FOLDER]
    except LgadError as error:
        st.warning(str(error))
        choices = [FOLDER]
    return st.selectbox("Model", choices, format_func=lambda choice: choice.title)


def _networks(project: Project, tracking: MlflowTracking, choice: ModelChoice) -> dict[str, Path]:
    """Return the directory of each network to show, by role."""
    if choice == FOLDER:
        path = st.text_input("Folder of a student, or of a recipe with its students")
        return networks_in(_home(path)) if path else {}
    folders = role_folders(project, choice.dataset, choice.recipe)
    networks = {role: folder for role, folder in folders.items() if (folder / "network.json").is_file()}
    if choice.version is not None:
        with tracking.explained():
            networks["student_lgad"] = registered_network(tracking, choice, Path(_scratch().name))
        if len(networks) > 1:
            st.caption("The other networks are those that were trained last.")
    return networks


def _home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the user does not exist
        return Path(path)


def _frame(project: Project, choice: ModelChoice) -> Frame | None:
    source = st.radio("Frame", ["of the data set", "picture or clip"], index=0 if choice.dataset else 1)
    if source == "picture or clip":
        return _uploaded()
    if not choice.dataset:
        st.info("The data set of a folder is not known; drop a picture or a clip.")
        return None
    return _of_dataset(project, choice.dataset)


def _uploaded() -> Frame | None:
    file = st.file_uploader("Picture or clip", type=[suffix[1:] for suffix in SUFFIXES])
    if file is None:
        return None
    data = file.getvalue()
    if not is_clip(file.name):
        return Frame(Path(file.name).name, uploaded_picture(file.name, data))
    number = st.slider("Frame of the clip", 0, MOST_CLIP_FRAMES - 1, 0)
    image, found = clip_frame(file.name, data, number)
    return Frame(f"{Path(file.name).name}, frame {found}", image)


def _of_dataset(project: Project, dataset: str) -> Frame | None:
    from lgad_pipeline.datasets.images import read_image
    from lgad_pipeline.datasets.safe_io import frame_limit, read_inside

    paths, entry = project.paths(dataset), project.dataset(dataset)
    splits = open_shards(paths).splits
    name = st.selectbox("Split", list(splits), index=len(splits) - 1)
    split = splits[name]
    index = int(st.number_input(f"Number of the frame, 0 to {len(split) - 1}", 0, len(split) - 1, 0))
    sample = split[index]
    try:
        limit, links = frame_limit(entry.frame_size), entry.follow_links
        image = read_image(read_inside(paths.recordings, sample.frame, limit=limit, follow_links=links))
    except FileNotFoundError:
        image = sample.image
    return Frame(sample.frame, image, (sample.image, sample.label))


def _show(frame: Frame, networks: Mapping[str, Path]) -> None:
    """Draw a column for each network: lanes, probability maps, attention maps."""
    views = {}
    for role in TITLES:
        if role not in networks or (role == "teacher" and frame.packed is None):
            continue
        try:
            views[role] = _views(role, networks[role], frame)
        except LgadError as error:
            st.error(f"{TITLES[role]}: {error}")
    if not views:
        st.info("Choose a model on the left.")
        return
    layers = {role: list(view.attention) for role, view in views.items()}
    depth = st.radio(
        "Attention of stage",
        range(max(map(len, layers.values()))),
        format_func=lambda index: " / ".join(
            dict.fromkeys(names[min(index, len(names) - 1)] for names in layers.values())
        ),
        index=max(map(len, layers.values())) - 1,
        horizontal=True,
    )
    for column, (role, view) in zip(st.columns(len(views)), views.items(), strict=True):
        with column:
            _column(role, view, frame, layers[role][min(depth, len(layers[role]) - 1)])
    st.image(legend(1200, max(view.slots for view in views.values()), annotated=False))
    if "teacher" not in views and "teacher" in networks:
        st.caption("The teacher reads label maps: choose a frame of the data set to see its attention.")


def _column(role: str, view: NetworkViews, frame: Frame, layer: str) -> None:
    st.markdown(f"**{TITLES[role]}**")
    if view.lanes is not None:
        st.image(view.lanes, caption=counted(len(view.found), "lane"), width="stretch")
    elif frame.packed is not None:
        st.image(draw_label_map(*frame.packed), caption="label map, its input", width="stretch")
    st.image(view.probabilities, caption="probability maps", width="stretch")
    st.image(view.attention[layer], caption=f"attention, {layer}", width="stretch")


def _views(role: str, folder: Path, frame: Frame) -> NetworkViews:
    if role == "teacher":
        assert frame.packed is not None
        return teacher_views(folder, *frame.packed)
    predictor = _predictor(str(folder), _state_of(folder))
    if warning := distortion(frame.image.shape[:2], predictor.view):
        st.warning(warning)
    with _lock():  # the taps of one session would see the features of another one
        return student_views(predictor, frame.image)


@st.cache_resource(max_entries=4, show_spinner=False)
def _predictor(folder: str, state: str) -> LanePredictor:
    """Load a student; `state` is a fingerprint of its files, so that a new training is loaded again."""
    return LanePredictor.load(Path(folder))


def _state_of(folder: Path) -> str:
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.*"))]
    return hashlib.blake2b(str(stats).encode(), digest_size=8).hexdigest()


@st.cache_resource
def _lock() -> threading.Lock:
    return threading.Lock()


@st.cache_resource
def _scratch() -> tempfile.TemporaryDirectory:
    """Return the directory of the networks of registered versions; it is deleted when the server ends."""
    return tempfile.TemporaryDirectory(prefix="lgad-app-")


def _explained(draw: Callable[[], None]) -> None:
    try:
        draw()
    except LgadError as error:
        st.error(str(error))
    except OSError as error:
        st.error(str(os_fault(error)))


_explained(main)
