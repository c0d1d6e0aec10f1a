"""Training of teachers and students: one loop, tasks that name their losses, resumable checkpoints."""
