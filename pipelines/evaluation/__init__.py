"""After training: embeddings, probes, forecasts, disentanglement."""
