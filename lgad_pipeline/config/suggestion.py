"""Settings of the suggestions: frames without labels, and how many of them are suggested."""

from typing import Literal

from pydantic import Field

from lgad_pipeline.config.base import BaseConfig, FolderPath


class SuggestConfig(BaseConfig):
    """Suggestion of frames to label next.

    Attributes:
        frames: folder of new frames without labels; relative paths are relative to the settings file.
        count: greatest number of frames to suggest.
        format: tool in which the predicted lanes are corrected.
        recipe: recipe whose students choose the frames; none: the first recipe that is retrained, else the
            first one.
        quiet_seconds: seconds for which nothing in the folder may have changed before frames are suggested.
    """

    frames: FolderPath
    count: int = Field(default=20, ge=1, le=10_000)
    format: Literal["labelme", "cvat"] = "labelme"
    recipe: str | None = None
    quiet_seconds: float = Field(default=60, ge=0)
