"""Metrics of CULane and TuSimple, bootstrap intervals, and the comparison of models."""
