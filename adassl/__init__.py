"""AdaSSL: self-supervised learning from pairs whose target the context does not determine.

The method alone, in torch: no files, no environment, no Ray, no tracking. `adassl.config` holds the
settings (and imports no torch), `adassl.method` composes the parts, every other module is one part.

Paper: "Self-Supervised Learning from Structural Invariance", arXiv 2602.02381.
"""
