"""Trained networks as logged models in a real MLflow store."""

from pathlib import Path

from mlflow.artifacts import download_artifacts

from resources.mlflow.journal_file import InputRecord
from resources.mlflow.resource import default_tracking, run_id_of
from resources.mlflow.trained_model import add_parents, log_network, model_of

VAL = InputRecord(name="roads val", digest="f" * 32, context="validation")


def network(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("network.json", "weights.safetensors", "history.parquet"):
        (folder / name).write_text(f"{folder.name} {name}")
    return folder


def test_networks_are_models_with_weights_metrics_and_parents(tmp_path, training):
    tracking = default_tracking(tmp_path)
    folders = [network(tmp_path / "models" / name) for name in ("teacher", "student_lgad")]
    ids = []
    for folder in folders:
        with training(tracking, folder):
            pass
        options = {"name": folder.name, "fingerprint": "one", "metrics": {"val/miou": 0.75}, "dataset": VAL}
        ids.append(log_network(tracking, folder, **options))
        assert log_network(tracking, folder, **options) == ids[-1]  # a training is logged once
    teacher, student = (tracking.client.get_logged_model(model) for model in ids)
    assert teacher.name == "teacher" and teacher.source_run_id == run_id_of(folders[0])
    [metric] = student.metrics or []
    assert (metric.key, metric.value) == ("final/val/miou", 0.75)
    assert (metric.dataset_name, metric.dataset_digest) == ("roads val", "f" * 32)
    local = Path(download_artifacts(f"models:/{ids[1]}", dst_path=str(tmp_path / "got")))
    assert (local / "weights.safetensors").read_text() == "student_lgad weights.safetensors"
    assert not list(local.rglob("history.parquet"))

    for _ in range(2):
        add_parents(tracking, folders[1], models=[ids[0]])
    run = tracking.client.get_run(run_id_of(folders[1]))
    assert run.inputs is not None and run.outputs is not None
    assert [model.model_id for model in run.inputs.model_inputs] == [ids[0]]
    assert [model.model_id for model in run.outputs.model_outputs] == [ids[1]]
    other = log_network(tracking, folders[1], name="student_lgad", fingerprint="two", metrics={}, dataset=VAL)
    assert other != ids[1] and model_of(tracking, run.info.run_id, fingerprint="three") is None
