import re
from pathlib import Path

import pytest

from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import CulaneDataset, Settings, SyntheticDataset
from tests.settings.settings_files import RECIPES, message, written


def test_the_projects_own_settings_are_valid() -> None:
    settings = Settings.load(Path(__file__).parents[2] / "lgad.yaml")
    assert isinstance(settings.dataset("synthetic"), SyntheticDataset)
    assert settings.recipe("enet").network.name == "enet"


def test_synthetic_needs_no_entry(tmp_path: Path) -> None:
    settings = Settings.load(written(tmp_path, RECIPES))
    assert list(settings.datasets) == ["synthetic"]


def test_a_relative_root_starts_at_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "drives").mkdir()
    entry = "datasets: {mine: {kind: culane, root: drives, crop_top: 240}}"
    dataset = Settings.load(written(tmp_path, entry + RECIPES)).dataset("mine")
    assert isinstance(dataset, CulaneDataset)
    assert dataset.root == tmp_path / "drives"
    assert dataset.view.crop_top == 240


def test_a_relative_directory_of_initial_weights_starts_at_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lgad.yaml"
    for init, wanted in (("nets/a", str(tmp_path / "nets/a")), ("models:/a-b@champion",) * 2):
        recipe = f"recipes: {{enet: {{teacher: {{}}, student: {{}}, init: '{init}'}}}}"
        path.write_text(f"datasets: {{}}\n{recipe}\n")
        assert Settings.load(path).recipe("enet").init == wanted


def test_the_key_of_version_0_1_for_rejected_frames_is_read(tmp_path: Path) -> None:
    entry = "datasets: {mine: {kind: culane, root: ., max_set_aside: 0.5}}"
    assert Settings.load(written(tmp_path, entry + RECIPES)).dataset("mine").max_rejected == 0.5
    renamed = entry.replace("max_set_aside", "max_rejected")
    assert Settings.load(written(tmp_path, renamed + RECIPES)).dataset("mine").max_rejected == 0.5


def test_tusimple_has_its_own_frames_and_rows(tmp_path: Path) -> None:
    entry = "datasets: {mine: {kind: tusimple, root: ., image_size: [288, 512]}}"
    dataset = Settings.load(written(tmp_path, entry + RECIPES)).dataset("mine")
    assert dataset.frame_size == (720, 1280) and dataset.view.frame_size == (720, 1280)
    assert dataset.slot_scheme == SlotScheme(slots=6, rows=57, divisions=72)
    wrong = entry.replace("image_size", "image_siz")
    assert "datasets.mine.image_siz is not a known key; did you mean image_size?" in message(
        tmp_path, wrong + RECIPES
    )


def test_a_size_of_images_with_height_and_width_exchanged_is_an_error(tmp_path: Path) -> None:
    entry = "datasets: {{mine: {{kind: culane, root: ., image_size: [{}, {}]{}}}}}"
    assert "image_size [800, 288] is higher than wide" in message(
        tmp_path, entry.format(800, 288, "") + RECIPES
    )
    upright = ", frame_size: [1280, 720]"
    for height, width, others in ((288, 800, ""), (256, 256, ""), (640, 360, upright)):
        text = entry.format(height, width, others)
        assert Settings.load(written(tmp_path, text + RECIPES)).dataset("mine").image_size == (height, width)


@pytest.mark.parametrize(
    "key", ["augmentation: {flip: yes}", "distillation: {balance: on}", "teacher_input: {erasing: true}"]
)
def test_yes_in_place_of_a_number_is_an_error(tmp_path: Path, key: str) -> None:
    section, name = re.findall(r"\w+", key)[:2]
    sentence = f"lgad.yaml: recipes.enet.{section}.{name} is yes; write a number, or leave the key out"
    assert sentence in message(tmp_path, f"{RECIPES}    {key}\n")


def test_yes_in_place_of_a_number_of_a_data_set_stops_it_alone(tmp_path: Path) -> None:
    entries = "datasets: {mine: {kind: culane, root: ., crop_top: yes}, good: {kind: culane, root: .}}"
    settings = Settings.load(written(tmp_path, f"{entries}{RECIPES}trainer: {{ray: {{failures: 2}}}}\n"))
    with pytest.raises(LgadError, match=r"^lgad\.yaml: datasets\.mine\.crop_top is yes; write a number"):
        settings.dataset("mine")
    assert settings.dataset("good").crop_top == 0


@pytest.mark.parametrize("entry", ["yes", "{kind: [culane], crop_top: yes}", "{kind: {a: 1}, crop_top: yes}"])
def test_an_entry_of_a_data_set_of_another_form_stops_it_alone(tmp_path: Path, entry: str) -> None:
    entries = f"datasets: {{mine: {entry}, good: {{kind: culane, root: .}}}}"
    settings = Settings.load(written(tmp_path, f"{entries}{RECIPES}"))
    with pytest.raises(LgadError, match=r"^lgad\.yaml: datasets\.mine"):
        settings.dataset("mine")
    assert settings.dataset("good").crop_top == 0


def test_pretrained_weights_are_next_to_the_settings_and_not_for_teachers(tmp_path: Path) -> None:
    network = "    network: {name: resnet18, pretrained: weights/r18.pth}\n"
    recipe = Settings.load(written(tmp_path, RECIPES + network)).recipe("enet")
    assert recipe.network.pretrained == tmp_path / "weights" / "r18.pth"
    teacher = network.replace("network:", "teacher_network:")
    assert "recipes.enet: teacher_network.pretrained has no effect" in message(tmp_path, RECIPES + teacher)


def test_no_is_an_amount_of_zero_and_a_switch_may_be_yes(tmp_path: Path) -> None:
    keys = "    augmentation: {flip: no}\n    distillation: {gate: yes}\n"
    recipe = Settings.load(written(tmp_path, RECIPES + keys)).recipe("enet")
    assert recipe.augmentation.flip == 0 and recipe.distillation.gate


@pytest.mark.parametrize(("value", "right"), [("2", "0.02"), ("15", "0.15")])
def test_a_percentage_in_place_of_a_share_is_an_error(tmp_path: Path, value: str, right: str) -> None:
    entry = f"datasets: {{mine: {{kind: culane, root: ., max_rejected: {value}}}}}"
    with pytest.raises(LgadError) as error:
        Settings.load(written(tmp_path, entry + RECIPES)).dataset("mine")
    remedy = f"it is a share, at most 1; write {right} for {value} %."
    assert str(error.value) == f"lgad.yaml: datasets.mine.max_rejected is {value}: {remedy}"
    promotion = f"promotion: {{scenario_tolerance: {value}}}\n"
    assert f"promotion.scenario_tolerance is {value}: {remedy}" in message(tmp_path, RECIPES + promotion)


@pytest.mark.parametrize("share", ["1", "1.0"])
@pytest.mark.parametrize("key", ["max_rejected", "max_set_aside"])
def test_a_share_of_all_frames_may_be_rejected(tmp_path: Path, key: str, share: str) -> None:
    entry = f"datasets: {{mine: {{kind: culane, root: ., {key}: {share}}}}}"
    promotion = f"promotion: {{scenario_tolerance: {share}}}\n"
    settings = Settings.load(written(tmp_path, f"{entry}{RECIPES}{promotion}"))
    assert settings.dataset("mine").max_rejected == settings.promotion.scenario_tolerance == 1


def test_existence_need_not_be_learned_if_it_decides_nothing(tmp_path: Path) -> None:
    recipe = RECIPES.replace("600", "600, existence_weight: 0") + "    decode: {existence_threshold: 0}\n"
    assert Settings.load(written(tmp_path, recipe)).recipe("enet").student.existence_weight == 0


def test_shards_go_to_a_store_that_is_named_without_credentials(tmp_path: Path) -> None:
    entry = "datasets: {mine: {kind: culane, root: ., jpeg_quality: 85, shards: 's3://drives/mine'}}"
    dataset = Settings.load(written(tmp_path, entry + RECIPES)).dataset("mine")
    assert (dataset.shards, dataset.jpeg_quality) == ("s3://drives/mine", 85)
    sentence = message(tmp_path, entry.replace("drives/", "AKIA:hush@drives/") + RECIPES)
    assert "shards holds credentials; take them out" in sentence and "hush" not in sentence
    sentence = message(tmp_path, entry.replace("s3://drives", "drives") + RECIPES)
    assert "datasets.mine.shards is 'drives/mine': write the address of a store" in sentence


def test_a_store_needs_an_owner_and_is_named_without_credentials(tmp_path: Path) -> None:
    keys = "store: s3://drives/project\nowner: me\n"
    assert Settings.load(written(tmp_path, keys + RECIPES)).store == "s3://drives/project"
    assert message(tmp_path, keys.replace("owner: me", "") + RECIPES) == (
        "lgad.yaml: store needs the key owner, the name of this project on all machines; add it."
    )
    sentence = message(tmp_path, keys.replace("drives/", "AKIA:hush@drives/") + RECIPES)
    assert "store holds credentials; take them out" in sentence and "hush" not in sentence
    sentence = message(tmp_path, keys.replace("s3://", "") + RECIPES)
    assert (
        sentence
        == "lgad.yaml: store is 'drives/project': write the address of a store, such as s3://bucket/folder."
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "datasets: {mine: {kind: culane, rot: x}}" + RECIPES,
            "lgad.yaml: datasets.mine.root is missing; add it.\n"
            "lgad.yaml: datasets.mine.rot is not a known key; did you mean root?",
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
        (
            RECIPES.replace("steps: 600", "optimizer: {learning_rate: .inf}"),
            "lgad.yaml: recipes.enet.student.optimizer.learning_rate is inf; give a finite number.",
        ),
        (RECIPES + "promotion: {confidence: .nan}", "promotion.confidence"),
        (RECIPES + "    decode: {peak_threshold: 1}", "recipes.enet.decode.peak_threshold is 1, which no"),
        (RECIPES.replace("600", "600, existence_weight: 0"), "student.existence_weight is 0, so that the"),
        (RECIPES + "promotion: {confidence: 0.05}", "promotion.confidence is 0.05: input should be greater"),
        (RECIPES.replace("enet:", "ENet:"), "recipes has the name 'ENet'; a name has at most 64 lower-case"),
        (RECIPES.replace("enet:", f"{'e' * 300}:"), "a name has at most 64 lower-case letters"),
        (RECIPES + "  enet: {teacher: {}, student: {}}", "the key 'enet' is there twice"),
        ("datasets: {}\nrecipe: {}", "did you mean recipes?"),
        ("recipes: [", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("a: &a [1]\nb: [" + "*a, " * 33 + "]", "has more than 32 aliases"),
        ("just words", "has no keys; add `datasets:` and `recipes:`."),
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
    for cron in ("0 2 29 2 *", "0 2 31 nov-feb *", "0 2 * * 0-7", "0 2 25/3 2 *", "*/5 0-6 5-1 */11 sun"):
        Settings.load(written(tmp_path, entry.format(f"{{cron: '{cron}'}}") + RECIPES))
    for wrong, sentence in {
        "{recipes: [enett]}": "datasets.synthetic.retrain.recipes names enett; the recipes are enet.",
        "{cron: nightly}": "datasets.synthetic.retrain.cron is 'nightly': give five fields",
        "{timezone: Mars/Base}": "datasets.synthetic.retrain.timezone is 'Mars/Base': no such time zone",
        "{cron: 99 25 * * *}": "datasets.synthetic.retrain.cron is '99 25 * * *': minute 99 is not in 0..59",
        "{cron: 0 2 31 4 *}": "retrain.cron is '0 2 31 4 *': day 31 does not occur in these months",
        "{cron: 0 2 31 4-4 *}": "the month '4-4' is every month in Dagster; write 4 alone",
        "{cron: '0 23-23 * * *'}": "the hour '23-23' is every hour in Dagster; write 23 alone",
        "{cron: '0 2 1,7-7/2 * *'}": "the day '7-7/2' is every day in Dagster; write 7 alone",
        "{cron: '0 2 * * sun-0'}": "the weekday 'sun-0' is every weekday in Dagster; write 0 alone",
        "{cron: '0 2 * * 7-sun'}": "the weekday '7-sun' is every weekday in Dagster; write 7 alone",
        "{cron: '0 2 30,31 feb *'}": "retrain.cron is '0 2 30,31 feb *': day 30 does not occur in these",
        "{cron: '0 2 * * mar'}": "retrain.cron is '0 2 * * mar': weekday 'mar' cannot be read",
        "{cron: '0 2 * 1feb *'}": "retrain.cron is '0 2 * 1feb *': month '1feb' cannot be read",
        "{cron: '*/90 * * * *'}": "retrain.cron is '*/90 * * * *': the step 90 of minute is not in 1..59",
        "{crn: 0}": "datasets.synthetic.retrain.crn is not a known key; did you mean cron?",
    }.items():
        assert sentence in message(tmp_path, entry.format(wrong) + RECIPES)


def test_command_for_failed_runs(tmp_path: Path) -> None:
    settings = Settings.load(written(tmp_path, RECIPES + "notify: {command: [mail, -s, failed, me]}"))
    assert settings.notify is not None and settings.notify.command[0] == "mail"
    assert "notify.command" in message(tmp_path, RECIPES + "notify: {command: []}")


def test_broken_entry_stops_only_itself(tmp_path: Path) -> None:
    entries = {
        "good": "{kind: culane, root: .}",
        "away": "{kind: culane, root: /mnt/not/mounted}",
        "typo": "{kind: culane, rot: .}",
        "wide": "{kind: culane, root: ., max_rejected: .inf}",
        "text": "words",
        "size": "{kind: culane, root: ., image_size: 288x800}",
        "My Set": "{kind: culane, root: .}",
        "7": "{kind: culane, root: .}",
    }
    text = "datasets:\n" + "".join(f"  {name}: {entry}\n" for name, entry in entries.items()) + RECIPES
    settings = Settings.load(written(tmp_path, text))
    assert list(settings.datasets) == ["synthetic", "good", "away"]
    assert settings.dataset_names == ["7", "away", "good", "size", "synthetic", "text", "typo", "wide"]
    assert settings.recipe("enet")
    for name, sentence in {
        "typo": "datasets.typo.rot is not a known key; did you mean root?",
        "wide": "datasets.wide.max_rejected is inf; give a finite number.",
        "text": "datasets.text is 'words'",
        "size": "datasets.size.image_size is '288x800'; write it as a list in brackets, such as [a, b].",
        "My Set": "datasets has the name 'My Set'; a name has at most 64 lower-case letters",
        "7": "datasets has the name 7, which YAML does not read as text",
    }.items():
        with pytest.raises(LgadError) as error:
            settings.dataset(name)
        assert sentence in str(error.value)


def test_root_is_looked_at_when_it_is_used(tmp_path: Path) -> None:
    entries = "datasets: {away: {kind: culane, root: /mnt/x}, file: {kind: culane, root: lgad.yaml}}"
    settings = Settings.load(written(tmp_path, entries + RECIPES))
    for name in ("away", "file"):
        entry = settings.dataset(name)
        assert isinstance(entry, CulaneDataset)
        with pytest.raises(
            LgadError, match=r"cannot be read \(there is no such folder\); mount its disk, or"
        ):
            entry.require_root()


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("s3://b/drives", "s3://b/drives/", ["one", "two"]),
        ("s3://b/drives", "S3://b//drives/night?region=eu", ["one", "two"]),
        ("s3://b/drives", "s3://b/drives-night", []),
        ("s3://b/drives", "gs://b/drives", []),
    ],
)
def test_shards_of_two_data_sets_never_share_an_address(
    tmp_path: Path, first: str, second: str, refused: list[str]
) -> None:
    entries = f"""datasets:
  one: {{kind: culane, root: ., shards: "{first}"}}
  two: {{kind: culane, root: ., shards: "{second}"}}
  three: {{kind: culane, root: ., shards: "s3://b/other"}}"""
    settings = Settings.load(written(tmp_path, entries + RECIPES))
    assert sorted(settings.broken) == refused and "three" in settings.datasets
    if refused:
        with pytest.raises(
            LgadError, match="same address as the data set 'two', or inside it; give each data set"
        ):
            settings.dataset("one")


def test_names_that_clash_leave_the_first_alone(tmp_path: Path) -> None:
    entries = "datasets: {a-b: {kind: culane, root: .}, a_b: {kind: culane, root: .}, a.b: {}}"
    settings = Settings.load(written(tmp_path, entries + RECIPES))
    assert "a-b" in settings.datasets
    assert "datasets.a_b differs from the data set 'a-b' in - and _ only" in settings.broken["a_b"]


def test_two_data_sets_never_share_a_registered_model(tmp_path: Path) -> None:
    entries = "datasets: {drives: {kind: culane, root: .}, drives-night: {kind: culane, root: .}}"
    settings = Settings.load(written(tmp_path, entries + RECIPES))
    assert not settings.broken
    recipes = RECIPES + "  night-enet: {teacher: {}, student: {}}\n"
    settings = Settings.load(written(tmp_path, entries + recipes))
    assert list(settings.broken) == ["drives-night"]
    assert "would share the registered model drives-night-enet" in settings.broken["drives-night"]


def test_a_kind_of_another_package_is_named_by_its_import_path(tmp_path):
    file = tmp_path / "lgad.yaml"
    file.write_text(
        "datasets:\n  own: {kind: 'mypackage.kinds:MyReader', root: data}\n"
        "recipes:\n  a: {teacher: {steps: 400}, student: {steps: 400}}\n"
    )
    assert Settings.load(file).dataset("own").kind == "mypackage.kinds:MyReader"


def test_the_number_of_slots_is_even(tmp_path):
    entry = "datasets: {mine: {kind: tusimple, root: ., image_size: [144, 256], slots: 5}}" + RECIPES
    (tmp_path / "lgad.yaml").write_text(entry)
    assert "slots is 5: it must be even; write 6" in str(Settings.load(tmp_path / "lgad.yaml").broken["mine"])
