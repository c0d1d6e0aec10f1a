"""Settings of the promotion rule; needs no pandas."""

from pydantic import Field

from lgad_pipeline.config.base import BaseConfig, Share


class PromotionConfig(BaseConfig):
    """Conditions under which a challenger becomes champion.

    Total F1 is compared on the validation frames. Scenarios are compared on the test frames, because only
    these have scenarios; they can prevent a promotion, but the test split never chooses a model.

    Attributes:
        confidence: confidence of the paired bootstrap intervals over frames, 0.5 or more. The gain in total
            F1 is significant if its interval is above 0.
        scenario_tolerance: F1 that a scenario may lose, 0..1. A greater loss prevents the promotion if
            its interval is below 0.
        least_frames: least number of validation frames for a promotion, and of frames of a scenario that can
            prevent one; smaller scenarios are only shown.
        latency_factor: greatest time per frame, as a multiple of the champion's.
    """

    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    scenario_tolerance: Share = 0.02
    least_frames: int = Field(default=20, ge=1)
    latency_factor: float = Field(default=1.2, gt=0)

    @property
    def text(self) -> str:
        """All settings in one line, such as `confidence 0.95, scenario_tolerance 0.02, ...`."""
        return ", ".join(f"{name} {value:g}" for name, value in self)
