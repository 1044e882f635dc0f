"""What the losses are: one class each, its maths and nothing else."""
