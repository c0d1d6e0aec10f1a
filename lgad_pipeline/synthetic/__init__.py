"""A procedural road world that writes a data set in CULane's layout."""
