from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import CulaneDataset, Settings, SyntheticDataset

RECIPES = """
recipes:
  enet:
    teacher: {steps: 200}
    student: {steps: 600}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "lgad.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(folder: Path, text: str) -> str:
    with pytest.raises(LgadError) as error:
        Settings.load(written(folder, text))
    return str(error.value)


def test_the_projects_own_settings_are_valid() -> None:
    settings = Settings.load(Path(__file__).parents[1] / "lgad.yaml")
    assert isinstance(settings.dataset("synthetic"), SyntheticDataset)
    assert settings.recipe("enet").network.name == "enet"


def test_synthetic_needs_no_entry(tmp_path: Path) -> None:
    settings = Settings.load(written(tmp_path, RECIPES))
    assert list(settings.datasets) == ["synthetic"]


def test_a_relative_root_lies_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "drives").mkdir()
    entry = "datasets: {mine: {kind: culane, root: drives, crop_top: 240}}"
    dataset = Settings.load(written(tmp_path, entry + RECIPES)).dataset("mine")
    assert isinstance(dataset, CulaneDataset)
    assert dataset.root == tmp_path / "drives"
    assert dataset.view.crop_top == 240


def test_tusimple_has_its_own_frames_and_rows(tmp_path: Path) -> None:
    entry = "datasets: {mine: {kind: tusimple, root: ., image_size: [288, 512]}}"
    dataset = Settings.load(written(tmp_path, entry + RECIPES)).dataset("mine")
    assert dataset.frame_size == (720, 1280) and dataset.view.frame_size == (720, 1280)
    assert dataset.label_rows == 46
    wrong = entry.replace("image_size", "image_siz")
    assert "datasets.mine.image_siz is not a known key; did you mean image_size?" in message(
        tmp_path, wrong + RECIPES
    )


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lgad.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(LgadError, match="is not valid YAML: 'utf-8' codec can't decode"):
        Settings.load(tmp_path / "lgad.yaml")


def test_shards_go_to_a_store_that_is_named_without_credentials(tmp_path: Path) -> None:
    entry = "datasets: {mine: {kind: culane, root: ., jpeg_quality: 85, shards: 's3://drives/mine'}}"
    dataset = Settings.load(written(tmp_path, entry + RECIPES)).dataset("mine")
    assert (dataset.shards, dataset.jpeg_quality) == ("s3://drives/mine", 85)
    told = message(tmp_path, entry.replace("drives/", "AKIA:hush@drives/") + RECIPES)
    assert "shards holds credentials; take them out" in told and "hush" not in told
    told = message(tmp_path, entry.replace("s3://drives", "drives") + RECIPES)
    assert "datasets.mine.shards is 'drives/mine': write the address of a store" in told


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "datasets: {mine: {kind: culane, rot: x}}" + RECIPES,
            "lgad.yaml: datasets.mine.root is missing; add it.\n"
            "lgad.yaml: datasets.mine.rot is not a known key; did you mean root?",
        ),
        (
            "datasets: {mine: {kind: culane, root: /no/such/folder}}" + RECIPES,
            "lgad.yaml: datasets.mine.root is '/no/such/folder': there is no such folder; "
            "name the one that holds the data set.",
        ),
        (
            "datasets: {mine: {kind: kitti, root: .}}" + RECIPES,
            "lgad.yaml: datasets.mine.kind is 'kitti'; the kinds are 'synthetic', 'culane', 'tusimple'",
        ),
        ("datasets: {mine: {root: .}}" + RECIPES, "lgad.yaml: datasets.mine.kind is missing; add it."),
        (
            RECIPES.replace("steps: 600", "steps: 0"),
            "lgad.yaml: recipes.enet.student.steps is 0: input should be greater than or equal to 1.",
        ),
        (
            RECIPES.replace("steps: 600", "step: 600"),
            "lgad.yaml: recipes.enet.student.step is not a known key; did you mean steps?",
        ),
        (
            RECIPES.replace("steps: 600", "optimizer: {learning_rat: 1}"),
            "lgad.yaml: recipes.enet.student.optimizer.learning_rat is not a known key; "
            "did you mean learning_rate?",
        ),
        ("datasets: {}\nrecipe: {}", "did you mean recipes?"),
        ("recipes: [", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("a: &a [1]\nb: [" + "*a, " * 33 + "]", "has more than 32 aliases"),
        ("just words", "holds no keys; give it `datasets:` and `recipes:`."),
    ],
)
def test_each_mistake_is_one_sentence_with_key_and_remedy(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in message(tmp_path, text)


def test_a_size_off_the_stride_is_refused(tmp_path: Path) -> None:
    text = "datasets: {synthetic: {kind: synthetic, image_size: [81, 256]}}" + RECIPES
    sentence = "datasets.synthetic: image_size [81, 256] must be multiples of 8"
    assert sentence in message(tmp_path, text)


def test_a_missing_file_says_where_it_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(LgadError, match="LGAD_SETTINGS"):
        Settings.load(tmp_path / "lgad.yaml")


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    settings = Settings.load(written(tmp_path, RECIPES))
    with pytest.raises(LgadError, match="no data set 'culane'; it has synthetic"):
        settings.dataset("culane")


def test_retraining_names_recipes_that_exist(tmp_path: Path) -> None:
    entry = "datasets: {{synthetic: {{kind: synthetic, retrain: {}}}}}"
    settings = Settings.load(written(tmp_path, entry.format("{recipes: [enet]}") + RECIPES))
    assert settings.retrained("synthetic") == ("enet",)
    every = Settings.load(written(tmp_path, entry.format("{cron: '0 2 * * *', timezone: UTC}") + RECIPES))
    assert every.retrained("synthetic") == ("enet",)
    for wrong, sentence in {
        "{recipes: [enett]}": "datasets.synthetic.retrain.recipes names enett; the recipes are enet.",
        "{cron: nightly}": "datasets.synthetic.retrain.cron is 'nightly': give five fields",
        "{timezone: Mars/Base}": "datasets.synthetic.retrain.timezone is 'Mars/Base': no such time zone",
        "{crn: 0}": "datasets.synthetic.retrain.crn is not a known key; did you mean cron?",
    }.items():
        assert sentence in message(tmp_path, entry.format(wrong) + RECIPES)


def test_command_that_is_told_of_failures(tmp_path: Path) -> None:
    settings = Settings.load(written(tmp_path, RECIPES + "notify: {command: [mail, -s, failed, me]}"))
    assert settings.notify is not None and settings.notify.command[0] == "mail"
    assert "notify.command" in message(tmp_path, RECIPES + "notify: {command: []}")
