"""One whole server for all of these tests: its engine takes half a minute to start."""

import pytest

from tests.e2e.server import running_server
from tests.servers import private_directory


@pytest.fixture(scope="session")
def server():
    """A server with everything real: Redis, SQL, worker, trainer, vLLM."""
    with (
        private_directory("retune-e2e-") as directory,
        running_server(
            directory / "data",
            RETUNE_RESUME_EVERY_SECONDS="1",
            RETUNE_REPORT_EXAMPLES="12",
            RETUNE_PYTHON_GRADERS="on",
        ) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def client(server):
    """OpenAI's SDK, pointed at the server and changed in nothing else."""
    return server.client()
