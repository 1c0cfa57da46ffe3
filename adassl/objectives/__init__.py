"""Self-supervised objectives: one file a family, a pure function and a module around it."""
