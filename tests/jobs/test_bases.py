import json
import os
import shutil
import struct
from datetime import date
from pathlib import Path

import pytest

from jobs.bases.catalog import NANO, NANO_DIRECTORY, SMOLLM2, Catalog, load_catalog
from jobs.bases.digests import DigestCache
from jobs.bases.model_directory import UnusableBase, count_parameters, inspect_directory
from jobs.bases.offers import parse_engine_urls, parse_offers
from schemas.errors import InvalidRequest
from schemas.settings import Settings

MAX_NANO_PARAMETERS = 4_000_000
MAX_NANO_BYTES = 8_000_000


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(data_dir=tmp_path / "data", bases_dir=tmp_path / "bases")


@pytest.fixture
def model(tmp_path) -> Path:
    """A whole model directory of the operator's, small enough to break."""
    return write_model(tmp_path / "house-model")


def write_model(path: Path, *, context: int = 512) -> Path:
    path.mkdir(parents=True)
    config = {"model_type": "llama", "hidden_size": 8, "max_position_embeddings": context}
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text("{}")
    (path / "chat_template.jinja").write_text("{{ messages }}")
    write_weights(path / "model.safetensors", shapes=[[2, 3], [4]])
    return path


def write_weights(path: Path, *, shapes: list[list[int]]) -> None:
    header: dict[str, object] = {
        f"tensor{i}": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
        for i, shape in enumerate(shapes)
    }
    encoded = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded)


def load(settings: Settings, base_models: str = "", **environ: str) -> Catalog:
    given = {"HOME": "/nonexistent"} | environ
    return load_catalog(settings.model_copy(update={"base_models": base_models}), environ=given)


def test_nano_is_always_offered(settings):
    """Without configuration the tiny base of the repository is offered, and nothing is wrong."""
    catalog = load(settings)

    assert [base.name for base in catalog.all()] == [NANO]
    assert catalog.get(NANO).directory == NANO_DIRECTORY
    assert catalog.problems == []


def test_nano_is_small():
    """The tiny base has at most 4M parameters and its files take at most 8 MB."""
    nano = inspect_directory(NANO_DIRECTORY)

    assert nano.n_parameters <= MAX_NANO_PARAMETERS
    assert sum(path.stat().st_size for path in NANO_DIRECTORY.iterdir()) <= MAX_NANO_BYTES
    assert (nano.model_type, nano.max_context) == ("llama", 1024)


def test_smollm2_is_offered_once_prepared(settings):
    """The real base is offered when, and only when, its directory is in `bases_dir`."""
    assert load(settings).find(SMOLLM2) is None

    write_model(settings.bases_dir / SMOLLM2)

    assert [base.name for base in load(settings).all()] == [NANO, SMOLLM2]


def test_configured_directory(settings, model):
    """A directory is offered under the name that the operator gave, with the facts of its files."""
    base = load(settings, f"house={model}").get("house")

    assert (base.directory, base.model_type, base.hidden_size) == (model, "llama", 8)
    assert base.n_parameters == 2 * 3 + 4


def test_configured_base_takes_the_place_of_ours(settings, model):
    """A configured base of one of our names is the one that is offered under it."""
    assert load(settings, f"{SMOLLM2}={model}").get(SMOLLM2).directory == model


def test_alias_in_the_comma_form(settings):
    """A right side that names an offered base makes an alias of the left one."""
    catalog = load(settings, f"gpt-4o-mini={NANO}")

    assert catalog.get("gpt-4o-mini").name == NANO
    assert catalog.resolve("gpt-4o-mini") == NANO
    assert catalog.aliases() == {"gpt-4o-mini": NANO}
    assert [base.name for base in catalog.all()] == [NANO]


def test_alias_of_an_unprepared_base_says_what_to_do(settings):
    """An alias for SmolLM2 before it is prepared names the command that prepares it."""
    catalog = load(settings, f"gpt-4o-mini={SMOLLM2}")

    assert catalog.find("gpt-4o-mini") is None
    assert catalog.problems == [
        f"The alias gpt-4o-mini stands for {SMOLLM2}, which is not offered. Run `make setup-bases`."
    ]


def test_toml_file(settings, model, tmp_path):
    """A TOML file names models, by paths that count from it, with bounds of their own, and aliases."""
    file = tmp_path / "models.toml"
    file.write_text(
        f'[models."house/1.5b"]\npath = "{model.name}"\ncontext_length = 100\n'
        '[aliases]\n"gpt-4o-mini" = "house/1.5b"\n'
    )

    catalog = load(settings, str(file))

    assert catalog.problems == []
    assert catalog.get("gpt-4o-mini").directory == model
    assert catalog.get("house/1.5b").context_length == 100


def test_base_that_will_go(settings, model, tmp_path):
    """The operator says until when a base is there; what is no date is told."""
    file = tmp_path / "models.toml"
    file.write_text(f'[models.house]\npath = "{model.name}"\nshutdown_date = 2027-06-30\n')
    assert load(settings, str(file)).find("house").shutdown_date == date(2027, 6, 30)
    file.write_text(f'[models.house]\npath = "{model.name}"\nshutdown_date = "soon"\n')
    assert "models.house.shutdown_date" in load(settings, str(file)).problems[0]


def test_base_that_embeds(settings, model, tmp_path):
    """A base for vectors needs no chat template; it is offered, and nothing can be tuned on it."""
    (model / "chat_template.jinja").unlink()
    file = tmp_path / "models.toml"
    file.write_text(f'[models.vectors]\npath = "{model.name}"\ntask = "embed"\n')

    catalog = load(settings, str(file))

    assert catalog.problems == []
    assert catalog.find("vectors").task == "embed"
    with pytest.raises(InvalidRequest, match="not available for fine-tuning"):
        catalog.get("vectors")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models.a]\npath = 'x'\ntask = 'sing'\n", "models.a.task"),
        ("[models.a]\n", "give either path or hub"),
        ("[models.a]\npath = 'x'\nhub = 'o/n'\n", "give either path or hub"),
        ("[models.a]\nhub = 'n'\n", "hub must be ORG/NAME"),
        ("[models.a]\npath = 'x'\ncontext_length = 0\n", "models.a.context_length"),
        ("[models.a]\npath = 'x'\nsize = 1\n", "models.a.size"),
        ("[models]\na = 1\n", "models.a"),
        ("models = 1\n", "models must be a table"),
        ("[model.a]\npath = 'x'\n", "[model] is not known"),
        ("[models.'a:b']\npath = 'x'\n", "cannot be called 'a:b'"),
        ("[models.a]\npath = 'x'\n[aliases]\na = 'b'\n", "a is configured twice"),
        ("[models.a\n", "is not TOML"),
    ],
)
def test_toml_mistakes(tmp_path, text, said):
    """Each mistake in the file is told by its place, and nothing is raised."""
    file = tmp_path / "models.toml"
    file.write_text(text)

    problems = parse_offers(str(file), known=frozenset()).problems

    assert len(problems) == 1
    assert said in problems[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/nowhere/models.toml", "cannot be read: No such file"),
        ("Qwen/Qwen3-0.6B", "NAME=DIRECTORY-OR-HUB-ID"),
        ("a=b", "not the name of an offered base"),
        ("a=", "not the name of an offered base"),
        ("=o/n", "cannot be called ''"),
        ("ft:x=o/n", "cannot be called 'ft:x'"),
        ("a=o/n,a=o/m", "a is configured twice"),
    ],
)
def test_comma_form_mistakes(text, said):
    """Each mistake in the comma form is told, and nothing is raised."""
    problems = parse_offers(text, known=frozenset({NANO})).problems

    assert len(problems) == 1
    assert said in problems[0]


def test_bad_base_does_not_stop_the_others(settings, model):
    """A base that cannot be used is a problem, told with its name; the others are offered."""
    catalog = load(settings, f"gone=/nowhere,house={model}")

    assert [base.name for base in catalog.all()] == [NANO, "house"]
    assert catalog.problems == ["gone is not offered. There is no directory /nowhere."]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: (path / "config.json").unlink(), "has no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "config.json cannot be used"),
        (lambda path: (path / "config.json").write_text("{}"), "model_type: Field required"),
        (lambda path: (path / "tokenizer.json").unlink(), "save the model's fast tokenizer"),
        (lambda path: (path / "chat_template.jinja").unlink(), "this base cannot chat"),
        (lambda path: (path / "model.safetensors").unlink(), "has no model.safetensors"),
        (
            lambda path: (path / "model.safetensors").rename(path / "pytorch_model.bin"),
            "only pickled weights",
        ),
        (lambda path: (path / "model.safetensors").rename(path / "m.gguf"), "only GGUF weights"),
        (lambda path: (path / "model.safetensors").write_bytes(b"?"), "not a whole safetensors"),
        (
            lambda path: (path / "model.safetensors").write_bytes(b"\xff" * 8),
            "not a whole safetensors",
        ),
    ],
)
def test_what_a_base_must_hold(model, spoil, said):
    """Whatever is missing or broken in a model's directory is told in a sentence that helps."""
    spoil(model)

    with pytest.raises(UnusableBase) as caught:
        inspect_directory(model)

    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0]


def test_all_that_is_missing_is_told_at_once(tmp_path):
    """An empty directory is told all four things that it lacks."""
    with pytest.raises(UnusableBase) as caught:
        inspect_directory(tmp_path)

    assert len(caught.value.problems) == 4


def test_template_inside_the_tokenizer_configuration(model):
    """A template in tokenizer_config.json, as older models have it, is enough."""
    (model / "chat_template.jinja").unlink()
    (model / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')

    assert inspect_directory(model).model_type == "llama"


def test_weights_in_several_files(model):
    """The parameters of all shards that the index names are counted; a missing shard is told."""
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (model / "model.safetensors").rename(model / shards[0])
    write_weights(model / shards[1], shapes=[[10, 10]])
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))

    assert inspect_directory(model).n_parameters == 110

    (model / shards[1]).unlink()
    with pytest.raises(UnusableBase, match=shards[1]):
        inspect_directory(model)


def test_text_part_of_a_model_that_sees(model):
    """Where the language model is nested in the configuration, its width and context count."""
    nested = {"hidden_size": 16, "max_position_embeddings": 99, "model_type": "x_text"}
    (model / "config.json").write_text(json.dumps({"model_type": "x", "text_config": nested}))

    directory = inspect_directory(model)

    assert (directory.model_type, directory.hidden_size, directory.max_context) == ("x", 16, 99)


def test_parameters_are_counted_from_the_header(tmp_path):
    """A file's parameters are the products of its shapes; a tensor without dimensions is one."""
    write_weights(tmp_path / "m.safetensors", shapes=[[3, 5], [], [0, 7]])

    assert count_parameters(tmp_path / "m.safetensors") == 16


@pytest.mark.parametrize(("bound", "expected"), [(64, 64), (4096, 512)])
def test_context_length_is_the_smallest_bound(settings, model, bound, expected):
    """The context is what the model can, unless the operator allows less."""
    settings = settings.model_copy(update={"context_length": bound})

    assert load(settings, f"house={model}").get("house").context_length == expected


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"])
def test_hub_id_is_found_in_the_cache(settings, tmp_path, variable):
    """A hub id means the commit that `main` points at, in the cache that the Hugging Face client uses."""
    below = {"HF_HOME": "hub", "HF_HUB_CACHE": ".", "XDG_CACHE_HOME": "huggingface/hub"}[variable]
    repository = tmp_path / "cache" / below / "models--org--tiny"
    write_model(repository / "snapshots" / "older")
    snapshot = write_model(repository / "snapshots" / "abc123")
    os.utime(repository / "snapshots" / "older")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")

    catalog = load(settings, "tiny=org/tiny", **{variable: str(tmp_path / "cache")})

    assert catalog.get("tiny").directory == snapshot


def test_hub_id_that_was_not_downloaded(settings, tmp_path):
    """A hub id that is not in the cache is a problem that names the download's command."""
    catalog = load(settings, "tiny=org/tiny", HF_HOME=str(tmp_path))

    assert catalog.problems == [
        (
            f"tiny is not offered. org/tiny is not in {tmp_path}/hub. "
            "Run `hf download org/tiny`, or give the directory of a copy."
        )
    ]


def test_unknown_model_is_refused_as_openai_does(settings):
    """Asking for a base that is not offered is a 400 that names the parameter and the model."""
    with pytest.raises(InvalidRequest) as caught:
        load(settings).get("gpt-5")

    error = caught.value
    assert (error.param, error.code) == ("model", "model_not_available")
    assert error.message == "Model gpt-5 is not available for fine-tuning or does not exist."


def test_engine_urls_reach_their_bases(settings):
    """An engine's address goes to the base of that name or alias; an unknown name is a problem."""
    settings = settings.model_copy(update={"engine_urls": "small=http://e:1/,other=http://e:2"})

    catalog = load(settings, f"small={NANO}")

    assert catalog.get(NANO).engine_url == "http://e:1"
    assert catalog.problems == ["RETUNE_ENGINE_URLS names other, which is not offered."]


def test_engine_urls_need_an_address():
    """An entry without a name or an http address is a problem, and the others count."""
    urls, problems = parse_engine_urls("a=http://e, b, =http://f, c=ftp://g")

    assert urls == {"a": "http://e"}
    assert len(problems) == 3


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"]
)
def test_digest_changes_with_each_file(settings, model, name):
    """A change of the configuration, tokenizer, template or weights is another digest."""
    before = load(settings, f"house={model}").get("house").digest
    with (model / name).open("ab") as file:
        file.write(b" ")

    after = load(settings, f"house={model}").get("house").digest

    assert len(before) == 64
    assert after != before


def test_digest_is_of_the_contents(settings, model, tmp_path):
    """A copy elsewhere, made at another time, has the same digest; a card beside it does not count."""
    copy = shutil.copytree(model, tmp_path / "copy", copy_function=shutil.copyfile)
    (copy / "README.md").write_text("hello")

    catalog = load(settings, f"house={model},copy={copy}")

    assert catalog.get("house").digest == catalog.get("copy").digest


def test_digest_is_remembered(settings, model):
    """A second start takes the digest of an unchanged file from the cache and does not read it."""
    first = load(settings, f"house={model}").get("house")
    cache = settings.data_dir / "base-digests.json"
    known = json.loads(cache.read_bytes())
    known[str(model / "model.safetensors")]["sha256"] = "0" * 64
    cache.write_text(json.dumps(known))

    second = load(settings, f"house={model}").get("house")

    assert second.digest != first.digest


def test_damaged_cache_costs_only_time(tmp_path, model):
    """A cache that is not ours counts as empty, and is written anew."""
    path = tmp_path / "base-digests.json"
    path.write_text("[]")
    cache = DigestCache.open(path)
    digest = cache.digest([model / "config.json"])
    cache.save()

    assert DigestCache.open(path).digest([model / "config.json"]) == digest
    assert str(model / "config.json") in json.loads(path.read_bytes())


def test_nothing_is_written_into_a_base(settings, model):
    """Loading the catalog leaves a base's directory as it was."""
    before = sorted(path.name for path in model.iterdir())
    load(settings, f"house={model}")

    assert sorted(path.name for path in model.iterdir()) == before
