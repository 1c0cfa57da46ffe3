"""Self-supervised objectives: one file a family, pure functions of embeddings."""
