"""One server for the tests of batches and of the other wire forms."""

import pytest

from factory.platform_house import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_bert, tiny_llama):
    """A server whose models are a tiny encoder and a tiny causal model."""
    running = Server(tmp_path_factory.mktemp("faces"), [tiny_bert, tiny_llama])
    yield running
    running.stop()
