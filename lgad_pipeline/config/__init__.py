"""Typed settings of every stage: pydantic models only, loaded without torch and pandas."""
