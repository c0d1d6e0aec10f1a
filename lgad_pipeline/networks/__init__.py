"""Lane-segmentation networks, their registry and their files."""
