"""Studies: paired trainings of several methods and seeds, and the gain of each method with its intervals."""
