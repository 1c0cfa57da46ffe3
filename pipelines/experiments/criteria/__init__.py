"""Which label-free number ranks settings as probes with labels do."""
