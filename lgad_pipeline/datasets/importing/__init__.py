"""Import of other tools' annotations into CULane's layout."""
