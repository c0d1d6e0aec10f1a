"""The resources: what the assets reach."""
