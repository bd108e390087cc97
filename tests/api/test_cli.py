"""The command line: each command answers, and what is wrong is told without a traceback."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def retune(tmp_path):
    """Run `retune …` with a data directory of the test's own."""

    def run(*arguments, **variables):
        return subprocess.run(
            [sys.executable, "-m", "api.cli.main", *arguments],
            env=os.environ
            | {"RETUNE_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "100", **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_usage_lists_every_command(retune):
    """`retune` alone says what there is."""
    done = retune()
    assert done.returncode == 0
    assert all(
        name in done.stdout for name in ("serve", "demo", "check", "keys", "projects", "doctor")
    )


@pytest.mark.parametrize("command", ["serve", "demo", "check", "keys", "projects", "doctor"])
def test_every_command_explains_itself(retune, command):
    """`--help` works everywhere."""
    done = retune(command, "--help")
    assert done.returncode == 0
    assert f"retune {command}" in done.stdout


def test_an_unknown_command_is_told(retune):
    """With the list of those that there are."""
    done = retune("sevre")
    assert done.returncode == 2
    assert "no command 'sevre'" in done.stderr
    assert "serve" in done.stderr


def test_a_key_is_made_listed_and_revoked(retune):
    """It is shown once, listed masked, and gone after `revoke`."""
    key = retune("keys", "create", "--name", "ci").stdout.strip()
    assert key.startswith("sk-proj-")
    listed = retune("keys", "list").stdout
    assert key not in listed
    assert key[-4:] in listed
    (key_id,) = [word for word in listed.split() if word.startswith("key_")]
    assert retune("keys", "revoke", key_id).returncode == 0
    assert retune("keys", "revoke", key_id).returncode == 1


def test_check_names_the_line(retune, tmp_path):
    """A bad file: exit code 1, with the line and what to do; an unknown model: exit code 2, with the known ones."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": []}\n')
    done = retune("check", str(bad), "--model", "retune-nano")
    assert done.returncode == 1
    assert "line 1" in done.stdout
    done = retune("check", str(bad), "--model", "gpt-9")
    assert done.returncode == 2
    assert "retune-nano" in done.stdout
    assert retune("check", "/no/such/file", "--model", "retune-nano").returncode == 2


def test_a_malformed_setting_is_named(retune):
    """The variable, not a traceback."""
    done = retune("keys", "list", RETUNE_WORKER_JOBS="many")
    assert done.returncode == 1
    assert "RETUNE_WORKER_JOBS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_is_restricted_rotated_and_ends(retune):
    """What was asked for is what is listed, and the id stays when the key changes."""
    asked = ("--name", "[odd]", "--scope", "api.files.read", "--expires", "3")
    first = retune("keys", "create", *asked).stdout.strip()
    listed = retune("keys", "list").stdout
    assert all(part in listed for part in ("[odd]", "api.files.read", "expires ", "proj_default"))
    (key_id,) = [word for word in listed.split() if word.startswith("key_")]
    second = retune("keys", "rotate", key_id, "--keep-old", "2").stdout.strip()
    listed = retune("keys", "list").stdout
    assert (second[-4:] in listed, first[-4:] in listed, key_id in listed) == (True, False, True)


def test_an_admin_key_cannot_be_restricted(retune):
    """It may do all to the organization, and nothing else."""
    assert retune("keys", "create", "--admin").stdout.startswith("sk-admin-")
    done = retune("keys", "create", "--admin", "--scope", "api.files.read")
    assert done.returncode == 2
    assert "an admin key cannot be restricted" in done.stderr


def test_a_project_is_made_and_archived(retune):
    """Its keys are made by its id, which fits the terminal whole; none for one that is archived."""
    project = retune("projects", "create", "Team B").stdout.strip()
    assert retune("keys", "create", "--project", project).returncode == 0
    assert project in retune("projects", "list", COLUMNS="80").stdout
    assert project in retune("keys", "list", COLUMNS="80").stdout
    assert retune("projects", "archive", project).returncode == 0
    done = retune("keys", "create", "--project", project)
    assert (done.returncode, "retune projects list" in done.stderr) == (1, True)


def test_the_default_project_stays(retune):
    """The first key belongs to it."""
    done = retune("projects", "archive", "proj_default")
    assert (done.returncode, "cannot be archived" in done.stderr) == (1, True)
