"""Bad days of an operator: each has a message that says what to do, and none leaves anything behind."""

import os
import socket
import subprocess
import sys

import pytest

from tests.e2e.server import KEY, free_port, running_server
from tests.servers import private_directory

pytestmark = pytest.mark.engine


def serve(directory, *arguments, **variables):
    """Run a server that is expected to refuse; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "serve", *arguments],
        env=os.environ | {"RETUNE_DATA_DIR": str(directory), "RETUNE_API_KEY": KEY, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_second_server_on_the_same_data_is_refused(server):
    """It says which directory, and what to set."""
    said = serve(server.data_dir, "--port", str(free_port()))
    assert f"another server already uses {server.data_dir}" in said
    assert "RETUNE_DATA_DIR" in said


def test_a_refused_server_changes_no_key(server, client):
    """A second server with another key leaves the first one's key as it was."""
    serve(server.data_dir, "--port", str(free_port()), RETUNE_API_KEY="another")
    assert client.models.list().data


def test_a_port_in_use_is_refused(tmp_path):
    """It says which address, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = serve(tmp_path / "data", "--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "--port" in said


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    """It names the path and the setting."""
    (tmp_path / "file").write_text("")
    said = serve(tmp_path / "file" / "data", "--port", str(free_port()))
    assert "Not a directory" in said
    assert "RETUNE_DATA_DIR" in said


def test_an_unknown_kind_of_database_is_refused(tmp_path):
    """It names what can be used."""
    said = serve(
        tmp_path / "data", "--port", str(free_port()), RETUNE_DATABASE_URL="mysql://localhost/x"
    )
    assert "sqlite:///… or postgresql://…" in said


def test_a_malformed_setting_is_refused(tmp_path):
    """It names the variable."""
    said = serve(tmp_path / "data", "--port", str(free_port()), RETUNE_WORKER_JOBS="many")
    assert "RETUNE_WORKER_JOBS" in said


def test_a_base_that_is_not_there_does_not_stop_the_others():
    """The server starts, says which base it cannot offer and why, and offers the rest."""
    with (
        private_directory("retune-e2e-") as directory,
        running_server(directory / "data", RETUNE_BASE_MODELS="mine=/no/such/model") as server,
    ):
        names = {model.id for model in server.client().models.list()}
        said = server.log_path.read_text()
    assert "retune-nano" in names
    assert "mine" not in names
    assert "/no/such/model" in said


def test_a_first_key_is_shown_once():
    """Without RETUNE_API_KEY a key is made at the first start, works, and is not shown again."""
    with private_directory("retune-e2e-") as directory:
        with running_server(directory / "data", RETUNE_API_KEY="") as server:
            said = server.log_path.read_text()
            (key,) = [word for word in said.split() if word.startswith("sk-proj-")]
            assert server.client().with_options(api_key=key).models.list().data
        with running_server(directory / "data", RETUNE_API_KEY="") as server:
            assert "sk-proj-" not in server.log_path.read_text()
            assert server.client().with_options(api_key=key).models.list().data
            assert server.stop() == 0
