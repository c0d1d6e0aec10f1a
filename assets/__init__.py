"""Assets of the pipeline, with their checks, jobs, schedules and sensors: one module for each stage."""
