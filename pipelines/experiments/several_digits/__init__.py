"""Scenes of one to three digits that change independently: structured editors against the MLP."""
