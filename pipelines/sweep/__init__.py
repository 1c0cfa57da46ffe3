"""A sweep: many trainings over a search space, on Ray Tune."""
