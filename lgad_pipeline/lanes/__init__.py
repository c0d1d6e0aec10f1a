"""What a lane is: lane files, splines, slots, label maps, and the way back from probability maps."""
