"""Pictures of data sets, augmentation, lanes and attention maps; uint8 (H, W, 3) RGB."""
