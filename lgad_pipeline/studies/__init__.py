"""Studies: many paired trainings, what a method gains, and how sure that is."""
