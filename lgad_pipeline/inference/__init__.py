"""Prediction of lanes with a trained network, and its export as ONNX."""
