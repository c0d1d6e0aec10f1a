"""Checks of the chain test: logged models in MLflow, and the networks that trainings start from."""

import json

from mlflow.entities import LoggedModelOutput, Run
from mlflow.onnx import load_model

from resources.mlflow.resource import run_id_of
from tests.assets.chain import Chain, aliased


def check_logged_models(chain: Chain) -> None:
    """Check the logged models of the trainings, and that the teacher is an input of the student with LGAD."""
    client = chain.client()
    runs = {
        role: client.get_run(run_id_of(chain.paths.network(role)))
        for role in ("teacher", "student_alone", "student_lgad")
    }
    for role in ("teacher", "student_alone"):
        [output] = outputs_of(runs[role])
        model = client.get_logged_model(output.model_id)
        assert model.name == role and "final/val/miou" in {metric.key for metric in model.metrics or ()}
    outputs = outputs_of(runs["student_lgad"])
    models = {client.get_logged_model(output.model_id).name: output.model_id for output in outputs}
    assert models.keys() == {"student", "student_onnx"}
    graph = load_model(f"models:/{models['student_onnx']}")
    assert [entry.name for entry in graph.graph.input] == ["image"]
    [teacher] = outputs_of(runs["teacher"])
    inputs = runs["student_lgad"].inputs
    assert inputs is not None and [model.model_id for model in inputs.model_inputs] == [teacher.model_id]


def outputs_of(run: Run) -> list[LoggedModelOutput]:
    """Return the logged models that a run has written."""
    assert run.outputs is not None and run.outputs.model_outputs is not None
    return run.outputs.model_outputs


def check_network_parameters(chain: Chain) -> None:
    """Check that the parameters of each run describe the network that was trained."""
    widths = {
        role: chain.client().get_run(run_id_of(chain.paths.network(role))).data.params
        for role in ("teacher", "student_alone", "student_lgad")
    }
    assert widths["teacher"]["network.width"] == widths["student_lgad"]["teacher_network.width"] == "0.5"
    assert widths["student_lgad"]["network.width"] == widths["student_alone"]["network.width"] == "1.0"
    assert "teacher_input.blind" not in widths["student_alone"]
    assert {name.split(".")[0] for name in widths["teacher"]} >= {"teacher_input", "augmentation", "training"}


def check_initial_weights(chain: Chain) -> None:
    """Check the students of a recipe with `init: models:/synthetic-enet@challenger`, which was version 2.

    The alias has moved to their own version since, which trains nothing again.
    """
    client = chain.client()
    assert aliased(client, "challenger") == "3"
    assert client.get_model_version("synthetic-enet", "3").tags["init"] == "models:/synthetic-enet/2"
    records = []
    for role in ("student_alone", "student_lgad"):
        assert chain.latest(role).metadata["initial weights"].value == "models:/synthetic-enet/2."
        run = client.get_run(run_id_of(chain.paths.network(role)))
        assert run.data.tags["init"] == "models:/synthetic-enet/2"
        assert run.data.params["init"] == "models:/synthetic-enet@challenger"
        records.append(json.loads((chain.paths.network(role) / "training.json").read_text()))
    assert records[0]["init"] == records[1]["init"] != ""
    assert (chain.paths.state / "initial" / records[0]["init"] / "weights.safetensors").is_file()
