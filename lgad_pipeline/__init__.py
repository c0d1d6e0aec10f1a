"""Label-guided attention distillation for lane segmentation (Liu and Zhu, Neurocomputing 438, 2021)."""
