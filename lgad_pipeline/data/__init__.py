"""Frames table, ingestion, training shards and batches."""
