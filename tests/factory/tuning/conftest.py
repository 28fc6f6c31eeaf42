"""One server for the tests of jobs and evals."""

import pytest

from factory.platform_house import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_bert, tiny_llama):
    """A server whose bases are a tiny encoder and a tiny causal model."""
    running = Server(tmp_path_factory.mktemp("platform"), [tiny_bert, tiny_llama])
    yield running
    running.stop()
