"""MLflow: run journal, runs, the Dagster resource, the model registry and the served model."""
