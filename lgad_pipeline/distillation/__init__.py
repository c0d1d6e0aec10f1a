"""Label-guided attention distillation: attention maps, taps on a network, the loss."""
