"""Many trainings at once on Ray Tune: what sweeps and experiments share."""
