"""Metadata of the data assets: counts, tables and pictures of frames, lane labels and shards."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from assets.presentation import metadata
from lgad_pipeline.config.slots import slot_names
from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.lanes.lane_types import named_type
from lgad_pipeline.settings import AnyDataset

if TYPE_CHECKING:
    import pandas as pd

    from lgad_pipeline.data.ingestion import Ingestion
    from lgad_pipeline.data.shards import ShardSet


def recordings_metadata(root: Path) -> dict[str, Any]:
    """Describe the directory of a data set: numbers of images and lane files, size."""
    from lgad_pipeline.datasets.images import IMAGE_SUFFIXES

    sizes: dict[str, int] = {}
    for path in root.rglob("*"):
        with suppress(FileNotFoundError):  # files may be copied at this time
            if path.is_file():
                sizes[str(path)] = path.stat().st_size
    return {
        "folder": dg.MetadataValue.path(root),
        "dagster/uri": root.as_uri(),
        "images": sum(name.lower().endswith(IMAGE_SUFFIXES) for name in sizes),
        "lane files": sum(name.endswith(".lines.txt") for name in sizes),
        "size (MB)": round(sum(sizes.values()) / 1e6, 1),
    }


def frames_metadata(result: "Ingestion", entry: AnyDataset, *, path: Path) -> dict[str, Any]:
    """Describe the frames table.

    Args:
        result: frames, rejected items, changes and notes of the ingestion.
        entry: settings of the data set.
        path: file of the table.
    """
    import pandas as pd

    from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
    from lgad_pipeline.visualization.dataset_sheet import data_sheet, lane_positions

    table = result.frames
    scenarios = table.loc[table["split"] == "test", "scenario"].value_counts()
    lanes = pd.crosstab(table["lanes"].map(len), table["split"]).reindex(columns=list(SPLITS), fill_value=0)
    splits = [{"split": split, **counts} for split, counts in split_counts(table).items()]
    sheet = data_sheet(result, entry.view, lane_width=entry.lane_width, scheme=entry.slot_scheme, count=6)
    return {
        "table": dg.MetadataValue.path(path),
        "dagster/uri": path.as_uri(),
        "dagster/partition_row_count": len(table),
        "splits": metadata.table(splits),
        "test scenarios": metadata.table(
            [{"scenario": name, "frames": int(n)} for name, n in scenarios.items()]
        ),
        "lanes per frame": metadata.table(
            [{"lanes": str(count), **row.astype(int).to_dict()} for count, row in lanes.iterrows()]
        ),
        **({"lane types": metadata.table(types)} if (types := type_counts(table)) else {}),
        "lane positions": metadata.picture(
            lane_positions(table, entry.frame_size), "positions of the annotated lanes in the frame"
        ),
        "frames": metadata.picture(
            sheet, "white: annotated lanes; coloured: label map at training size; last rows: rejected frames"
        ),
        "changes since the last table": metadata.table([result.changes._asdict()]),
        "notes": metadata.table([{"file": note.file, "note": note.text} for note in result.notes]),
        "rejected": len(result.rejected),
        "rejected, first 20": metadata.first_rows(result.rejected),
        "dagster/column_schema": metadata.columns(FRAMES_SCHEMA),
    }


def type_counts(frames: "pd.DataFrame") -> list[dict[str, Any]]:
    """Count the annotated types of lanes in each split of a frames table; empty if no type is annotated."""
    typed = frames[frames["lane_types"].notna()]
    counts: dict[str, dict[str, int]] = {}
    for split, types in zip(typed["split"], typed["lane_types"], strict=True):
        for name in types:
            counted = counts.setdefault(name or "unknown", dict.fromkeys(SPLITS, 0))
            counted[split] += 1
    return [{"type": name, **counts[name]} for name in sorted(counts)]


def split_counts(frames: "pd.DataFrame") -> dict[str, dict[str, int]]:
    """Count frames and annotated lanes of each split of a frames table."""
    lanes = frames["lanes"].map(len)
    return {
        split: {
            "frames": int((frames["split"] == split).sum()),
            "lanes": int(lanes[frames["split"] == split].sum()),
        }
        for split in SPLITS
    }


def lane_labels_metadata(
    labels: "pd.DataFrame", coverage: Mapping[str, int], *, frame_size: tuple[int, int], path: Path
) -> dict[str, Any]:
    """Describe the lane labels.

    Args:
        labels: the lane labels, a row for each frame.
        coverage: numbers of annotated and labelled lanes by name.
        frame_size: height and width of the frames, pixels.
        path: file of the table.
    """
    from lgad_pipeline.data.lane_labels import labels_schema
    from lgad_pipeline.visualization.dataset_sheet import slot_positions

    existence = np.array([list(flags) for flags in labels["existence"]], bool)
    slots = [
        {
            "slot": f"{slot + 1} {name}",
            "frames": int(existence[:, slot].sum()),
            "share": float(existence[:, slot].mean()) if len(existence) else None,
        }
        for slot, name in enumerate(slot_names(existence.shape[1] if len(existence) else 4))
    ]
    return {
        "table": dg.MetadataValue.path(path),
        "dagster/uri": path.as_uri(),
        "dagster/partition_row_count": len(labels),
        "coverage": metadata.table(
            [{"figure": name.replace("_", " "), "count": n} for name, n in coverage.items()]
        ),
        "slots": metadata.table(slots),
        "slot positions": metadata.picture(
            slot_positions(labels, frame_size), "positions of the lanes of each slot in the frame"
        ),
        "dagster/column_schema": metadata.columns(labels_schema(["types"] if "types" in labels else [])),
    }


def lane_types_metadata(
    frames: "pd.DataFrame", labels: "pd.DataFrame", *, lane_types: Sequence[str]
) -> dict[str, Any]:
    """Describe the types that networks tell apart; empty if the data set names none.

    Args:
        frames: the frames table.
        labels: the lane labels of these frames.
        lane_types: names of the types.
    """
    if not lane_types:
        return {}
    return {
        "types of labelled lanes": metadata.table(labelled_types(frames, labels, lane_types)),
        "types as annotated": metadata.table(named_types(frames, lane_types)),
    }


def labelled_types(
    frames: "pd.DataFrame", labels: "pd.DataFrame", lane_types: Sequence[str]
) -> list[dict[str, Any]]:
    """Count the labelled lanes of each type and split; the last row counts those of unknown type."""
    counts = {name or "unknown": dict.fromkeys(SPLITS, 0) for name in (*lane_types, "")}
    for split, types, existence in zip(frames["split"], labels["types"], labels["existence"], strict=True):
        for name, exists in zip(types, existence, strict=True):
            counts[name or "unknown"][split] += bool(exists)
    return [{"type": name, **of_splits} for name, of_splits in counts.items()]


def named_types(frames: "pd.DataFrame", lane_types: Sequence[str]) -> list[dict[str, Any]]:
    """Count the annotated types with the name of each, or the reason why it has none."""
    rows: list[dict[str, Any]] = []
    for row in type_counts(frames):
        annotated = "" if row["type"] == "unknown" else row["type"]
        name, reason = named_type(annotated, lane_types)
        rows.append(
            {"annotated": row["type"], "type": name or f"unknown: {reason}"} | {s: row[s] for s in SPLITS}
        )
    untyped = frames[frames["lane_types"].isna()]
    counts = {split: sum(map(len, untyped.loc[untyped["split"] == split, "lanes"])) for split in SPLITS}
    if any(counts.values()):
        rows.append({"annotated": "frames without types", "type": "unknown: not annotated", **counts})
    return rows


def shards_metadata(shards: "ShardSet", entry: AnyDataset, *, folder: Path) -> dict[str, Any]:
    """Describe the packed frames.

    Args:
        shards: the packed frames.
        entry: settings of the data set.
        folder: directory of the shards on this machine.
    """
    from assets.presentation.pictures import label_sheet

    return {
        "folder": dg.MetadataValue.path(folder),
        "dagster/uri": (entry.shards or folder.as_uri()).split("?")[0],
        "dagster/partition_row_count": sum(len(split) for split in shards.splits.values()),
        "store": (entry.shards or "only on this machine").split("?")[0],
        "frames": metadata.table(
            [{"split": name, "frames": len(split)} for name, split in shards.splits.items()]
        ),
        "image size": f"{entry.image_size[1]} x {entry.image_size[0]} px",
        "size (MB)": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1),
        "rejected": len(shards.rejected),
        "rejected, first 20": metadata.first_rows(shards.rejected),
        "labels on frames": metadata.picture(
            label_sheet(shards["train"], 6), "training frames with their label maps"
        ),
    }
