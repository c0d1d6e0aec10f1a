"""Stand-ins of assets: they write a line per file and are recorded as the assets themselves, in seconds."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from assets.freshness import inputs_at_start, materialize_result
from assets.keys import asset_key
from assets.partitions import grid_key
from definitions import definitions
from resources.progress import ProgressLog
from resources.project import Project
from tests.assets.chain import ASSETS

KEY = grid_key("synthetic", "enet")


class StandIns:
    """Records of a small project: the real graph, conditions and Dagster instance, without computations.

    Args:
        project: settings and paths; the data set is `synthetic`, the recipe `enet`.
        instance: the Dagster instance.
    """

    def __init__(self, project: Project, instance: dg.DagsterInstance) -> None:
        self.project, self.instance = project, instance
        self.definitions = definitions(ProgressLog())
        self._cursor = None

    def run(
        self, *names: str, version: str = "1", during: Callable[[str], object] = lambda name: None
    ) -> None:
        """Materialize stand-ins of assets in one run.

        Args:
            names: names of the assets.
            version: data version of their results.
            during: called with the name of each asset when it has read its inputs.
        """
        stand_ins = [self._stand_in(name, version, during) for name in names]
        partition = "synthetic" if names[0] in ASSETS["data"] else KEY
        assert dg.materialize(stand_ins, instance=self.instance, partition_key=partition).success

    def requested(self) -> list[str]:
        """Evaluate the conditions of all assets, and return the names of those that are requested."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self._cursor)
        self._cursor = result.cursor
        return [
            name for name in ASSETS["retrain"] if result.get_requested_partitions(asset_key(name)) == {KEY}
        ]

    def _stand_in(self, name: str, version: str, during: Callable[[str], object]) -> dg.AssetsDefinition:
        asset = self.definitions.resolve_asset_graph().get(asset_key(name)).assets_def
        spec = asset.get_asset_spec(asset.key)

        @dg.multi_asset(name=name, specs=[spec], partitions_def=asset.partitions_def)
        def stand_in(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            inputs = inputs_at_start(context, self.project)
            during(name)
            recipe = "" if name in ASSETS["data"] else "enet"
            for path in self.project.paths("synthetic", recipe).outputs(name):
                _write(path if path.suffix else path / "file.txt", version)
            return materialize_result(
                context, self.project, inputs=inputs, data_version=f"{name} {version}", metadata={}
            )

        return stand_in


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
