"""Row maxima of probability maps with torch: on a GPU, and as operations of an exported graph."""

import torch
from torch import Tensor
from torch.nn import functional

from lgad_pipeline.lanes.decoding import DecodedLane, DecodeSettings, decode, decode_rows
from lgad_pipeline.lanes.row_peaks import CUT_OFF, RowPeaks
from lgad_pipeline.view import View


def decode_tensors(
    probabilities: Tensor, existence: Tensor, view: View, config: DecodeSettings
) -> list[list[DecodedLane]]:
    """Decode the lanes of maps on any device, as `decoding.decode`.

    From a GPU only the row maxima are copied, not the maps.

    Args:
        probabilities: probability maps, float (B, slots, h, w).
        existence: existence probabilities, float (B, slots).
        view: mapping between map pixels and frame pixels.
        config: method and thresholds.

    Returns:
        Lanes of each frame, in the order of the slots.
    """
    exists = existence.float().cpu().numpy()
    if probabilities.device.type == "cpu" or config.method == "official":
        return decode(probabilities.float().cpu().numpy(), exists, view, config)
    peaks = RowPeaks(*(values.cpu().numpy() for values in row_peaks(probabilities.float())))
    return decode_rows(peaks, exists, view, config)


def row_peaks(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the maximum of each row of maps; the same formulae as `row_peaks.row_peaks` in NumPy.

    Args:
        probabilities: probability maps, float32 (B, slots, h, w).

    Returns:
        Centre, peak and weight of each row as in `RowPeaks`, float32 (B, slots, h) each.
    """
    smoothed = functional.avg_pool2d(probabilities, 3, stride=1, padding=1, count_include_pad=False)
    peak, column = smoothed.max(dim=3, keepdim=True)  # (B, slots, h, 1)
    # Columns outside of the blob are counted from the left: the count is constant on an unbroken run.
    outside = smoothed < 0.5 * peak
    run = outside.to(torch.int32).cumsum(dim=3)
    blob = probabilities * ((run == run.gather(3, column)) & ~outside)
    offset = torch.arange(probabilities.shape[3], device=probabilities.device) - column
    centre = column[..., 0] + (blob * offset).sum(dim=3) / blob.sum(dim=3).clamp_min(1e-9)
    cut_off = (blob[..., 0] > 0) | (blob[..., -1] > 0)
    peak = peak[..., 0]
    return centre, peak, torch.where(cut_off, CUT_OFF * peak, peak)
