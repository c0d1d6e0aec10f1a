"""Lane-segmentation networks, and how one is found by name."""
