"""Scores: the CULane and TuSimple metrics and the comparison of two models."""
