"""Readers of published data set layouts, and imports of annotation tools."""
