"""Clusters as in `tests/cluster`; the stores go back under them."""

from tests.cluster.conftest import new_cluster as new_cluster
