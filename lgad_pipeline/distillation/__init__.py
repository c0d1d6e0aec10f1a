"""Label-guided attention distillation: attention maps, feature taps, frozen teachers and distillation losses.

Needs torch and pydantic only.
"""
