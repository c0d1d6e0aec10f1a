"""Size and first frame of the trees that `write_tree` writes, and the rejected items of an ingestion."""

import pandas as pd

SIZE = (118, 328)
FIRST = "drive/train.MP4/00000.jpg"


def rejected(ingestion) -> list[tuple]:
    rows = ingestion.rejected.itertuples(index=False)
    return [(row.file, None if row.line is pd.NA else row.line, row.reason) for row in rows]
