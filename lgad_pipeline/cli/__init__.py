"""Command line interface `lgad`."""
