"""Whether training on chains of moments makes futures of several steps better."""
