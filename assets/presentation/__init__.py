"""Pure functions from results to Dagster metadata, charts, pictures, the report and the model card."""
