"""Export of lanes as annotations of other tools."""
