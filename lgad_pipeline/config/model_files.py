"""Names of the files in the directory of a trained network."""

WEIGHTS = "weights.safetensors"
NETWORK = "network.json"
PREDICTOR = "predictor.json"
CHECKPOINT = "checkpoint.pt"
"""State of an unfinished training."""
