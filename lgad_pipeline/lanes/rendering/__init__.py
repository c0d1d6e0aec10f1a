"""Label maps and lane masks that equal those of CULane's tools pixel by pixel."""
