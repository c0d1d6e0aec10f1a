"""When a new model takes over: settings alone, loaded without pandas."""

from pydantic import BaseModel, ConfigDict, Field


class PromotionConfig(BaseModel):
    """What a new version must show to take over from the champion.

    Total F1 is judged on the validation frames, scenarios on the test frames, which alone have them, and as a
    veto alone; so the test list never chooses a model.

    Attributes:
        confidence: of the paired bootstrap intervals over frames. The gain in total F1 counts when its
            interval lies above 0.
        scenario_tolerance: F1 that a scenario may lose. More counts when the loss's interval lies below 0.
        least_frames: of a scenario to be judged; smaller ones are shown.
        latency_factor: how many times as long as the champion a frame may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float = Field(default=0.95, gt=0, lt=1)
    scenario_tolerance: float = Field(default=0.02, ge=0, le=1)
    least_frames: int = Field(default=20, ge=1)
    latency_factor: float = Field(default=1.2, gt=0)
