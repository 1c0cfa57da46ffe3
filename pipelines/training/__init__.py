"""A training step, the loop, a training process, and a group of them on Ray Train."""
