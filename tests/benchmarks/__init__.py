"""`make bench`: ratios measured side by side in one run, as a table and in bench.json."""

import os

from pipelines.cli.app import QUIET_RAY

os.environ.update(QUIET_RAY)  # before Ray is imported, as the command line does it
