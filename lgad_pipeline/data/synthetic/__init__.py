"""The procedural road world, written in the layout of CULane."""
