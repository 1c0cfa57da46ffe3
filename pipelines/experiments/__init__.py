"""Experiments: grids of trainings that test what the papers claim, each with its page in docs/."""
