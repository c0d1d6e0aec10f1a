from pathlib import Path

import jsonschema
import pytest
import yaml

from lgad_pipeline.settings.schema import schema_text, settings_schema

ROOT = Path(__file__).parents[2]


def test_committed_schema_is_current():
    committed = (ROOT / "docs" / "lgad.schema.json").read_text()
    assert committed == schema_text(), "run: lgad schema --output docs/lgad.schema.json"


def test_lgad_yaml_of_the_project_is_valid():
    content = yaml.safe_load((ROOT / "lgad.yaml").read_text())
    jsonschema.validate(content, settings_schema())


@pytest.mark.parametrize(
    ("recipe", "mistake"),
    [
        ({"teacher": {"steps": 9}}, "is not valid under any of the given schemas"),
        ({"extends": "enet", "studnt": {"steps": 9}}, "'studnt' was unexpected"),
        ({"extends": "enet", "student": {"steps": "many"}}, "is not of type 'integer'"),
    ],
)
def test_schema_marks_mistakes_in_recipes(recipe, mistake):
    with pytest.raises(jsonschema.ValidationError, match=mistake):
        jsonschema.validate({"recipes": {"mine": recipe}}, settings_schema())


def test_schema_describes_the_keys():
    definitions = settings_schema()["$defs"]
    assert "pixels" in definitions["CulaneDataset"]["properties"]["frame_size"]["description"]
    assert definitions["Recipe"]["properties"]["extends"]["description"]
