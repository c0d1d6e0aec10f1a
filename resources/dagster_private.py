"""All uses of Dagster's private modules, in one place: check this module first after an update of Dagster."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph as AssetGraph
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster_shared.error import SerializableErrorInfo as SerializableErrorInfo


@contextmanager
def workspace_context(instance: dg.DagsterInstance, workspace: Path) -> Iterator["WorkspaceProcessContext"]:
    """Load the code locations of a workspace file for Dagster's web server.

    Args:
        instance: the Dagster instance.
        workspace: workspace file.
    """
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    target = WorkspaceFileTarget(paths=[str(workspace)])
    with WorkspaceProcessContext(instance, target, version=dg.__version__) as context:
        yield context
