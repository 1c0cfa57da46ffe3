"""A cluster of several nodes, one for all tests of the group `nodes`."""

from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, cluster


@pytest.fixture(scope="session")
def nodes() -> Iterator[Cluster]:
    """A head without CPUs, and a node with room for one trial of one worker or of two."""
    with cluster(num_cpus=3) as made:
        yield made
