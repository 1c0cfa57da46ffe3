"""Folders at a path or a URI, checkpoints, and the folder of a run."""
