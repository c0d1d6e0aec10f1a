"""Checks of the chain test in MLflow: runs, data sets, models, and the networks that trainings start from."""

import json
from pathlib import Path

import mlflow
from mlflow.entities import DatasetInput, LoggedModelOutput, Run
from mlflow.onnx import load_model

from resources.mlflow.resource import run_id_of
from tests.assets.chain import Chain, aliased


def check_training_runs(chain: Chain) -> None:
    """Check that every training has a finished run with its metrics, tags, data and pictures."""
    client = chain.client()
    for role in ("teacher", "student_alone", "student_lgad"):
        run_id = run_id_of(chain.paths.network(role))
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert [entry.step for entry in client.get_metric_history(run_id, "train/loss")] == [2, 4, 6, 8, 10]
        assert run.data.params["training.steps"] == "10"
        assert run.data.tags["role"] == role and run.data.tags["recipe"] == "enet"
        dagster_run = chain.instance.get_run_by_id(run.data.tags["dagster.run_id"])
        assert dagster_run is not None and dagster_run.job_name == "retrain"
        assert len(run.data.tags["data_fingerprint"]) == 32
        assert inputs_of(run)[0].dataset.name == "synthetic"
        assert {"attention.png", "overlays.png"} <= {file.path for file in client.list_artifacts(run_id)}
    assert "train/attention" in client.get_run(run_id_of(chain.paths.student_lgad)).data.metrics
    assert "test/f1/total" in client.get_run(run_id_of(chain.paths.student_alone)).data.metrics
    check_logged_models(chain)


def check_data_sets(chain: Chain) -> None:
    """Check the data sets that are inputs of the run of the student with LGAD."""
    inputs = inputs_of(chain.client().get_run(run_id_of(chain.paths.student_lgad)))
    found = {one.tags[0].value: one.dataset for one in inputs}
    assert {context: one.name for context, one in found.items()} == {
        "training": "synthetic",
        "validation": "synthetic val",
        "test": "synthetic test",
    }
    assert json.loads(found["training"].source) == {"uri": ".lgad/data/synthetic/shards"}
    columns = json.loads(found["test"].schema or "")["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["frame", "scenario", "existence", "image", "label"]
    assert json.loads(found["test"].profile or "") == {"num_rows": 9}


def check_registered_model(chain: Chain) -> None:
    """Check that the registered version predicts lanes from JPEG bytes, and holds no pickled file."""
    client = chain.client()
    version = client.get_model_version_by_alias("synthetic-enet", "challenger")
    assert "| total&emsp;|" in (version.description or "")
    model = mlflow.pyfunc.load_model("models:/synthetic-enet@challenger")
    frame = next(chain.paths.recordings.rglob("*.jpg")).read_bytes()
    found = model.predict([frame, frame])
    assert len(found) == 2 and found[0] == found[1]
    assert model.metadata.signature.inputs is not None
    assert all(1 <= lane.slot <= 4 and len(lane.points[0]) == 2 for lane in found[0].lanes)
    local = Path(mlflow.artifacts.download_artifacts("models:/synthetic-enet@challenger"))  # pyright: ignore
    assert not [path for path in local.rglob("*") if path.suffix in (".pkl", ".pt", ".pickle")]
    assert (local / "artifacts" / "network" / "student.onnx").is_file()


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


def inputs_of(run: Run) -> list[DatasetInput]:
    """Return the data sets that a run has read."""
    assert run.inputs is not None
    return run.inputs.dataset_inputs


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
