"""Keys of the assets. Their prefix makes them different from the keys of other code locations."""

import dagster as dg

PREFIX = "lgad"


def asset_key(name: str) -> dg.AssetKey:
    """Return the key of an asset, such as `lgad/frames` of `frames`."""
    return dg.AssetKey([PREFIX, name])


def asset_name(key: dg.AssetKey) -> str:
    """Return the name of an asset without the prefix; its result below the state root has the same name."""
    return key.path[-1]


def step_name(step_key: str) -> str:
    """Return the name of a step of a run without the prefix."""
    return step_key.removeprefix(f"{PREFIX}__")
