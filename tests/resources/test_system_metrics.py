"""System metrics of a training in a real MLflow store."""

from resources.mlflow import run, system_metrics
from resources.mlflow.resource import default_tracking, run_id_of


def test_a_training_has_cpu_and_memory_in_the_names_of_mlflow(tmp_path, training, wait_for, monkeypatch):
    monkeypatch.setattr(run, "SEND_SECONDS", 0.05)
    monkeypatch.setattr(system_metrics, "LOG_SECONDS", 0.0)
    tracking = default_tracking(tmp_path)
    folder = tmp_path / "models" / "teacher"
    names = {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"}
    with training(tracking, folder) as tracked:
        tracked.log({"train/loss": 1.0}, 2)
        wait_for(lambda: run_id_of(folder) != "")
        wait_for(lambda: names <= set(tracking.client.get_run(run_id_of(folder)).data.metrics))
    for name in names:
        for entry in tracking.client.get_metric_history(run_id_of(folder), name):
            assert 0 <= entry.value <= 100 and entry.step >= 0
