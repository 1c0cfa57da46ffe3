"""Self-supervised objectives: one file a family, pure functions and a small module around each."""
