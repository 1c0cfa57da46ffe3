"""The configuration of a run: typed, frozen, checked before any work starts."""
