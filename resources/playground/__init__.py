"""Page on which a frame or a clip is tried with any model of the project."""
