import numpy as np
import pytest

from lgad_pipeline.datasets.importing.entry import dataset_entry, dataset_keys, dataset_name
from lgad_pipeline.settings import Settings


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My Set", "my_set"),
        ("Été 2024: A9 #3", "ete_2024_a9_3"),
        ("drives-night", "drives-night"),
        ("2024", "set_2024"),
        ("2024-01-02", "set_2024-01-02"),
        ("1e5", "set_1e5"),
        ("No", "set_no"),
        ("车道", "my_data"),
        ("--", "my_data"),
    ],
)
def test_the_entry_is_valid_for_any_folder(tmp_path, text, name):
    assert dataset_name(text) == name
    for folder in (text, f"{text} 'q' \"r\" \\ \x1b[31m\u200b&*!|>%@`"):
        root = tmp_path / "roots" / folder
        root.mkdir(parents=True, exist_ok=True)
        entry = dataset_entry(name, root, keys=dataset_keys((590, 1640), []))
        recipes = "recipes: {enet: {teacher: {steps: 10, optimizer: {warmup_steps: 2}}, "
        recipes += "student: {steps: 10, optimizer: {warmup_steps: 2}}}}\n"
        (tmp_path / "lgad.yaml").write_text(entry + recipes, encoding="utf-8")
        assert Settings.load(tmp_path / "lgad.yaml").datasets[name].root == root  # type: ignore[union-attr]


def test_the_keys_of_the_entry_fit_frames_and_lanes():
    lane = np.array([[1, 1079], [2, 570]], np.float32)
    assert dataset_keys((1080, 1920), [lane]) == {
        "frame_size": [1080, 1920],
        "crop_top": 510,
        "lane_width": 19,
    }
    # TuSimple's lanes begin at row 160 of 720: 59 * 560 / 720 = 45.9 rows above the lowest.
    lane = np.array([[1, 719], [2, 160]], np.float32)
    assert dataset_keys((720, 1280), [lane]) == {
        "frame_size": [720, 1280],
        "crop_top": 120,
        "lane_width": 12,
        "label_rows": 47,
    }
    assert dataset_keys((590, 1640), []) == {"frame_size": [590, 1640], "crop_top": 0, "lane_width": 16}
