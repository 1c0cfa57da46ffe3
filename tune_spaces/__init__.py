"""Search spaces for sweeps, as data: one module a space."""
