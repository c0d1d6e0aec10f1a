"""Contact sheet of the augmentation of a frame, one change per picture."""

from collections.abc import Sequence

import numpy as np
import torch

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.lanes.slots import assign_slots
from lgad_pipeline.view import View
from lgad_pipeline.visualization.overlays import contact_sheet, draw_label_map

# Fields that are the probability of a change, not its amount.
_DICE = ("flip", "blur", "erasing", "shadow", "glare")
_DRAWS = 6


def augmentation_sheet(
    frame: np.ndarray,
    lanes: Sequence[np.ndarray],
    *,
    view: View,
    lane_width: int,
    scheme: SlotScheme,
    config: AugmentationConfig,
) -> np.ndarray:
    """Draw a frame with each change of the augmentation alone, then twice with all changes.

    Of six draws of each change the one that differs most from the frame is shown. Labels are drawn over the
    image, slot by slot in its colour.

    Args:
        frame: uint8 (H, W, 3), RGB, of the size that `view` names.
        lanes: points (N, 2) as (x, y) in frame pixels, bottom first.
        view: mapping from frame pixels to image pixels.
        lane_width: width of the lanes of the label map, frame pixels.
        scheme: number of slots, and rows on which lanes are labelled.
        config: settings of the augmentation; changes of amount 0 are left out.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    slots = assign_slots(lanes, view.frame_size, scheme=scheme)
    label = view.label(label_map(slots, view.frame_size, lane_width=lane_width))
    batch = Batch(
        ["frame"],
        torch.from_numpy(view.image(frame)).permute(2, 0, 1)[None],
        torch.from_numpy(label)[None],
        torch.from_numpy(slots.existence).float()[None],
    )
    names = [name for name in AugmentationConfig.model_fields if name != "min_lane_pixels"]
    amounts = {name: getattr(config, name) for name in names if getattr(config, name)}
    off = config.model_copy(update=dict.fromkeys(names, 0.0))
    pictures, captions = [_picture(batch)], ["the frame and its label"]
    for name, amount in amounts.items():
        alone = off.model_copy(update={name: 1.0 if name in _DICE else amount})
        pictures.append(_picture(_strongest(batch, alone)))
        how = f"in {amount:.0%} of the frames" if name in _DICE else f"up to {amount:g}"
        captions.append(f"{name}: {how}")
    for number in range(2):
        pictures.append(_picture(augment(batch, config, batch_generator(0, number))))
        captions.append("all together")
    return contact_sheet(pictures, 3, captions=captions, width=400)


def _strongest(batch: Batch, config: AugmentationConfig) -> Batch:
    draws = [augment(batch, config, batch_generator(0, number)) for number in range(_DRAWS)]
    return max(draws, key=lambda drawn: float((drawn.image.float() - batch.image).abs().mean()))


def _picture(batch: Batch) -> np.ndarray:
    return draw_label_map(batch.image[0].permute(1, 2, 0).numpy(), batch.label[0].numpy())
