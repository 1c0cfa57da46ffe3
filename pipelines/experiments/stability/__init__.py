"""Every objective, full and ablated: what keeps it from collapse."""
