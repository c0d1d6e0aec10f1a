"""Sizes of the camera frames of published data sets, (H, W), pixels."""

CULANE_FRAME = (590, 1640)
TUSIMPLE_FRAME = (720, 1280)
