"""Choice of the frames to label next, and their export with predicted lanes."""
