"""Trainers that the kernel ends for memory: recognised, and tried again with half."""

import pytest

from jobs.memory_kills import MemoryKills, count_memory_kills
from jobs.tokens_at_once import (
    TokensAtOnce,
    halve_after_kill,
    keep_tokens_at_once,
    read_tokens_at_once,
)
from schemas.errors import JobFailure


def test_each_kill_halves(tmp_path):
    """What a trainer has written down is halved, and stays so."""
    keep_tokens_at_once(tmp_path / "work", TokensAtOnce(tokens=2048, longest=300))
    assert halve_after_kill(tmp_path / "work").tokens == 1024
    assert halve_after_kill(tmp_path / "work").tokens == 512
    assert read_tokens_at_once(tmp_path / "work").tokens == 512


def test_one_example_cannot_be_halved(tmp_path):
    """Where the longest example ran alone, less of it is kept; then the job fails and says how long it is."""
    keep_tokens_at_once(tmp_path, TokensAtOnce(tokens=256, longest=1300))
    assert halve_after_kill(tmp_path).tokens == 256
    assert read_tokens_at_once(tmp_path).recomputes
    with pytest.raises(JobFailure, match="example of 1,300 tokens does not fit") as failure:
        halve_after_kill(tmp_path)
    assert failure.value.code == "out_of_memory"


def test_a_trainer_that_never_ran_has_nothing_to_halve(tmp_path):
    """Killed while it loaded its base, or with a file cut short, it is tried again as it was."""
    assert halve_after_kill(tmp_path) is None
    (tmp_path / "tokens_at_once.json").write_text('{"tok')
    assert halve_after_kill(tmp_path) is None


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("sys/fs/cgroup/memory.events", "low 0\noom 4\noom_kill {}\noom_group_kill 0\n"),
        (
            "sys/fs/cgroup/memory/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n",
        ),
        ("proc/vmstat", "nr_free_pages 5\noom_kill {}\n"),
    ],
)
def test_kills_are_counted(path, content, tmp_path):
    """Wherever the kernel counts them, one more makes the number greater."""
    assert count_memory_kills(tmp_path) == 0
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(content.format(2))
    before = count_memory_kills(tmp_path)
    (tmp_path / path).write_text(content.format(3))
    assert (before, count_memory_kills(tmp_path)) == (2, 3)


def test_only_our_own_group_is_counted(tmp_path):
    """A service's kills, not those of its neighbours, wherever it finds its own group."""
    group = tmp_path / "sys/fs/cgroup/system.slice/retune.service"
    for path in (group, tmp_path / "proc/self"):
        path.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/retune.service\n")
    (tmp_path / "proc/vmstat").write_text("oom_kill 7\n")
    assert count_memory_kills(tmp_path) == 7
    (group / "memory.events").write_text("oom_kill 1\n")
    assert count_memory_kills(tmp_path) == 1


def test_a_kill_of_long_ago_was_anothers():
    """Whoever spoke after it was not killed by it; one of a moment ago counts, and so does one in silence."""
    world = {"now": 0.0, "kills": 0}
    kills = MemoryKills(lambda: world["kills"], lambda: world["now"])
    world["kills"] = 1
    assert kills.has_just_killed
    for world["now"] in (11.0, 22.0):
        kills.look()
    assert not kills.has_just_killed
    world["kills"] = 2
    kills.look()
    assert kills.has_just_killed
    world["now"] = 500.0
    assert kills.has_just_killed


def test_this_machine_counts():
    """The real counters are there to be read."""
    assert count_memory_kills() >= 0
