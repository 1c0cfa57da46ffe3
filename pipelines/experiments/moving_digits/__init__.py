"""Stochastic moving digits: videos whose true distribution is known."""
