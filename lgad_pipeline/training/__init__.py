"""Training of teachers and students: plans, the loop, tasks, losses, checkpoints."""
