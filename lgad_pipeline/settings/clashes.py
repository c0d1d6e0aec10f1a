"""Clashes of data sets and recipes: names or addresses of shards that cannot be used together."""

from collections.abc import Collection, Mapping

from lgad_pipeline.config.datasets import Dataset

_SENSOR = "stale_models"  # the schedule of a data set is retrain_NAME, and retrain_stale_models is a sensor


def clashes(datasets: Mapping[str, Dataset], recipes: Collection[str]) -> dict[str, str]:
    """Return the data sets that clash with another one, each with the reason and the remedy.

    Of two clashing names, the first one in the file can be used. Of two equal or nested addresses of shards,
    none can be used: it is unknown to which data set the shards belong, and a training could read the frames
    of the other one.

    Args:
        datasets: Data sets in the order of the file.
        recipes: Names of the recipes.
    """
    return {**_same_identifier(datasets), **_same_model(datasets, recipes), **_same_shards(datasets)}


def _same_identifier(names: Collection[str]) -> dict[str, str]:
    """Return the data sets whose schedule would have the same name as that of an earlier one."""
    reasons: dict[str, str] = {}
    first: dict[str, str] = {}
    for name in names:
        if name.replace("-", "_") == _SENSOR:
            reasons[name] = "has the name of a sensor (retrain_stale_models); rename it"
            continue
        earlier = first.setdefault(name.replace("-", "_"), name)
        if earlier != name:
            reasons[name] = (
                f"differs from the data set '{earlier}' in - and _ only, which schedules cannot tell apart; "
                "rename one of them"
            )
    return reasons


def _same_model(names: Collection[str], recipes: Collection[str]) -> dict[str, str]:
    """Return the data sets whose registered model would have the same name as that of an earlier one.

    `drives` with the recipe `night-enet` and `drives-night` with `enet` would both be `drives-night-enet`.
    """
    reasons: dict[str, str] = {}
    known, order = set(recipes), {name: index for index, name in enumerate(names)}
    for name in names:
        for dash in (index for index, letter in enumerate(name) if letter == "-"):
            shorter, rest = name[:dash], name[dash + 1 :]
            if shorter not in order:
                continue
            recipe = next((recipe for recipe in recipes if f"{rest}-{recipe}" in known), None)
            if recipe is not None:
                earlier, later = sorted((name, shorter), key=order.__getitem__)
                reasons[later] = (
                    f"and the data set '{earlier}' would share the registered model {name}-{recipe} (recipes "
                    f"'{recipe}' and '{rest}-{recipe}'); rename a data set or a recipe"
                )
    return reasons


def _same_shards(datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """Return the data sets whose address of shards is equal to another one, or one is inside the other."""
    addresses = sorted(
        (_normal(entry.shards), name) for name, entry in datasets.items() if entry.shards is not None
    )
    reasons: dict[str, str] = {}
    enclosing: list[tuple[str, str]] = []  # each address is inside the address before
    for address, name in addresses:
        while enclosing and not address.startswith(enclosing[-1][0]):
            enclosing.pop()
        if enclosing:
            pair = (name, enclosing[-1][1])
            for dataset, clashing in (pair, pair[::-1]):
                reasons[dataset] = (
                    f"has `shards` at the same address as the data set '{clashing}', or inside it; give each "
                    "data set its own folder"
                )
        enclosing.append((address, name))
    return reasons


def _normal(address: str) -> str:
    """Return an address without its query, with exactly one slash between and after its parts."""
    scheme, _, rest = address.split("?")[0].partition("://")
    parts = [part for part in rest.split("/") if part not in ("", ".")]
    return f"{scheme.lower()}://" + "".join(f"{part}/" for part in parts)
