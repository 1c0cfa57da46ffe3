"""`make bench`: ratios measured side by side in one run, as a table and in bench.json."""
