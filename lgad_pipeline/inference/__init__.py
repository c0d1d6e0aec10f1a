"""From a trained network and frames to lanes, and the pictures of them."""
