"""Resources of the assets: project paths, trainer, progress, and MLflow."""
