"""The assets: what the pipeline makes, one module for each stage."""
