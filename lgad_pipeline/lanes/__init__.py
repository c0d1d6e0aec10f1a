"""Lanes: lane files, splines, lane slots, label maps, and decoding of probability maps."""
