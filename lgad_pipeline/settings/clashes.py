"""Data sets and recipes whose names or addresses get in each other's way."""

from collections.abc import Collection, Mapping

from lgad_pipeline.config.datasets import Dataset


def clashes(datasets: Mapping[str, Dataset], recipes: Collection[str]) -> dict[str, str]:
    """Return the data sets that cannot be used next to the others, each with the reason and the remedy.

    Of two names that clash the first keeps working. Of two equal or nested addresses of shards neither does:
    nothing tells which of them the shards belong to, and one would be trained on the other's frames.

    Args:
        datasets: Data sets in the order of the file.
        recipes: Names of the recipes.
    """
    return {**_same_identifier(datasets), **_same_model(datasets, recipes), **_same_shards(datasets)}


def _same_identifier(names: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.replace("-", "_"), name)
        if other != name:
            found[name] = (
                f"differs from the data set '{other}' in - and _ only, which schedules cannot tell apart; "
                "rename one of them"
            )
    return found


def _same_model(names: Collection[str], recipes: Collection[str]) -> dict[str, str]:
    """`drives` with the recipe `night-enet` and `drives-night` with `enet` are both drives-night-enet."""
    known, order, found = set(recipes), {name: place for place, name in enumerate(names)}, {}
    for name in names:
        for dash in (place for place, letter in enumerate(name) if letter == "-"):
            shorter, rest = name[:dash], name[dash + 1 :]
            if shorter not in order:
                continue
            recipe = next((recipe for recipe in recipes if f"{rest}-{recipe}" in known), None)
            if recipe is not None:
                later, other = (name, shorter) if order[name] > order[shorter] else (shorter, name)
                found[later] = (
                    f"and the data set '{other}' would share the registered model {name}-{recipe} (recipes "
                    f"'{recipe}' and '{rest}-{recipe}'); rename a data set or a recipe"
                )
    return found


def _same_shards(datasets: Mapping[str, Dataset]) -> dict[str, str]:
    places = sorted(
        (_normal(entry.shards), name) for name, entry in datasets.items() if entry.shards is not None
    )
    found: dict[str, str] = {}
    open_places: list[tuple[str, str]] = []  # each one inside the one before
    for place, name in places:
        while open_places and not place.startswith(open_places[-1][0]):
            open_places.pop()
        if open_places:
            for one, other in ((name, open_places[-1][1]), (open_places[-1][1], name)):
                found[one] = (
                    f"has `shards` at the same address as the data set '{other}', or inside it; each data "
                    "set needs a folder of its own"
                )
        open_places.append((place, name))
    return found


def _normal(address: str) -> str:
    """Return an address without its query, with exactly one slash between and after its parts."""
    scheme, _, rest = address.split("?")[0].partition("://")
    parts = [part for part in rest.split("/") if part not in ("", ".")]
    return f"{scheme.lower()}://" + "".join(f"{part}/" for part in parts)
