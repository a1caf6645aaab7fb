"""The algorithms: equations, nothing else."""
