"""Annotations of other tools, brought into CULane's layout."""
