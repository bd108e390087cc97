"""What must hold of a real vLLM with our plugin, on the tiny base."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from statistics import fmean

import pytest
from openai.types.chat import ChatCompletionChunk
from tokenizers import Tokenizer

from jobs.chat_template import ChatTemplate
from jobs.rendering import Renderer
from jobs.rendering_samples import SampleChooser
from schemas.chat import ChatRequest, to_upstream
from schemas.errors import InvalidRequest, JobFailure
from schemas.proof import Proof
from schemas.rendering import RenderingSamples
from schemas.text_completions import TextChoice, TextChunkWithUsage
from schemas.training_file import ChatExample, InstructionMessage, Tool, UserMessage
from serving.adapters import inspect_adapter
from serving.answers import Envelope, read_completion, rewrite_event
from serving.proof import Baseline, measure_base, prove
from serving.rendering import compare_rendering
from serving.text_answers import TextEnvelope, read_text_completion, rewrite_text_event
from serving.vllm import AdapterMissing, AdapterRejected
from tests.jobs.chat_templates import TEMPLATES
from tests.jobs.conversations import CONVERSATIONS, TOOLS, answer
from tests.serving.adapters_made import (
    Row,
    changed_base,
    changed_copy,
    partial_copy,
    proof_of,
    random_adapter,
    renamed_copy,
    scaled_copy,
)
from tests.serving.conftest import COLOURS, NANO_DIR, SLOTS, RunningEngine

pytestmark = [pytest.mark.engine, pytest.mark.anyio, pytest.mark.timeout(600)]

ENVELOPE = Envelope(id="chatcmpl-1", model="ft:nano:acme::12345678", system_fingerprint="fp_1")
_numbers = count()


@pytest.fixture(scope="module")
def proof(adapters: dict[str, Path], rows: list[Row]) -> Proof:
    """What the trainer knows of the adapter `trained`."""
    return proof_of(NANO_DIR, adapters["trained"], rows)


def fresh_name() -> str:
    """A name that no test used before: a name's weights never change."""
    return f"adapter-{next(_numbers)}"


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def ask(engine: RunningEngine, model: str, text: str, **options: object) -> str:
    body = {"model": model, "messages": question(text), "temperature": 0, "max_tokens": 12}
    async with engine.vllm.chat(body | options) as answer:
        completion = read_completion(await answer.read(), ENVELOPE)
    return completion.choices[0].message.content or ""


async def loaded(engine: RunningEngine, adapter: Path) -> str:
    name = fresh_name()
    await engine.vllm.load_adapter(name, adapter)
    return name


async def until(claim: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await claim():
            await asyncio.sleep(0.01)


async def is_idle(engine: RunningEngine) -> bool:
    return await engine.vllm.count_running() == 0


async def test_an_adapter_changes_its_own_answers(engine, adapters):
    """A tuned model answers in the form that it was taught, its base as ever."""
    name = await loaded(engine, adapters["trained"])
    taught = set(COLOURS.values())
    assert await ask(engine, name, "What colour is sky?") in taught
    assert await ask(engine, engine.base_name, "What colour is sky?") not in taught
    assert name in await engine.vllm.list_models()


async def test_loading_twice_and_unloading_twice_are_fine(engine, adapters):
    """Loading and unloading are safe to repeat; an unloaded adapter is missing, not another model."""
    name = await loaded(engine, adapters["other"])
    await engine.vllm.load_adapter(name, adapters["other"])
    with pytest.raises(AdapterRejected):
        await engine.vllm.load_adapter(name, adapters["third"])
    await engine.vllm.unload_adapter(name)
    await engine.vllm.unload_adapter(name)
    with pytest.raises(AdapterMissing):
        await ask(engine, name, "Hello")


async def test_adapters_that_vllm_cannot_read_are_rejected(engine, tmp_path):
    """A directory without an adapter is rejected, without its path in the message."""
    with pytest.raises(AdapterRejected) as refused:
        await engine.vllm.load_adapter(fresh_name(), tmp_path / "none")
    assert str(tmp_path) not in refused.value.message


async def test_the_base_stays_itself_beside_adapters_in_all_slots(engine, adapters):
    """In steps that it shares with as many adapters as there are slots, the base answers as it does alone.

    vLLM 0.32 without our plugin gives such requests the last slot's adapter (vllm-project/vllm#48421).
    """
    texts = [f"Tell me about number {n}." for n in range(6)]
    alone = [await ask(engine, engine.base_name, text, cache_salt="alone") for text in texts]
    names = [await loaded(engine, adapters[which]) for which in ("other", "third")]
    assert len(names) == SLOTS
    models = [engine.base_name, *names]
    answers = await asyncio.gather(
        *(ask(engine, model, text, cache_salt="mixed") for text in texts for model in models)
    )
    assert answers[:: len(models)] == alone
    # The last slot's adapter, which is what the fault serves, would have answered otherwise.
    assert not set(answers[2 :: len(models)]) & set(alone)


async def test_many_at_once_are_answered_as_one_by_one(engine, adapters):
    """Forty requests at once, for three models, get the answers that each gets alone."""
    models = [
        engine.base_name,
        await loaded(engine, adapters["trained"]),
        await loaded(engine, adapters["other"]),
    ]
    asked = [(models[n % 3], f"What is {n} plus {n % 7}?") for n in range(40)]
    together = await asyncio.gather(
        *(ask(engine, model, text, max_tokens=6, cache_salt="a") for model, text in asked)
    )
    one_by_one = [
        await ask(engine, model, text, max_tokens=6, cache_salt="b") for model, text in asked
    ]
    assert together == one_by_one


@pytest.mark.parametrize("stream", [True, False])
async def test_hanging_up_stops_the_generation(engine, stream):
    """A request whose caller gives up is running in vLLM, and a moment later is not."""
    body = {
        "model": engine.base_name,
        "messages": question("Count."),
        "max_tokens": 900,
        "ignore_eos": True,
        "stream": stream,
    }

    async def listen() -> None:
        async with engine.vllm.chat(body) as answer:
            if stream:
                async for _ in answer.events():
                    pass
            else:
                await answer.read()

    await until(lambda: is_idle(engine))
    listener = asyncio.create_task(listen())

    async def is_running() -> bool:
        assert not listener.done()
        return not await is_idle(engine)

    await until(is_running)
    listener.cancel()
    await until(lambda: is_idle(engine))
    assert listener.cancelled()


async def test_a_stream_says_what_the_whole_answer_says(engine):
    """The pieces of a streamed answer make the whole one; role first, reason last, usage asked for."""
    envelope = ENVELOPE.model_copy(update={"include_usage": True})
    body = {
        "model": engine.base_name,
        "messages": question("Hello there"),
        "temperature": 0,
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with engine.vllm.chat(body) as answer:
        text = b"".join([rewrite_event(event, envelope) async for event in answer.events()])
    *events, done = text.decode().strip().split("\n\n")
    chunks = [ChatCompletionChunk.model_validate_json(event[6:], strict=True) for event in events]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == await ask(engine, engine.base_name, "Hello there", max_tokens=8)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason in {"stop", "length"}
    assert chunks[-1].usage.completion_tokens > 0
    assert done == "data: [DONE]"


TEXT = TextEnvelope(
    id="cmpl-1", model="nano", system_fingerprint="fp_1", include_usage=True, has_logprobs=True
)


async def continue_text(engine: RunningEngine, envelope: TextEnvelope = TEXT, **options: object):
    body = {"model": engine.base_name, "prompt": "The sky", "temperature": 0, "max_tokens": 6}
    async with engine.vllm.ask("/v1/completions", body | options) as answer:
        if not options.get("stream"):
            return read_text_completion(await answer.read(), envelope)
        return b"".join([rewrite_text_event(event, envelope) async for event in answer.events()])


async def test_text_is_continued(engine):
    """Text goes on after each prompt; a stream's pieces make the whole, and its last tells the usage."""
    whole = await continue_text(engine, prompt=["The sky", "A rose"], logprobs=2)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert all(0 < len(choice.logprobs.tokens) <= 6 for choice in whole.choices)
    assert whole.choices[0].text == "".join(whole.choices[0].logprobs.tokens)
    told = await continue_text(engine, stream=True, stream_options={"include_usage": True})
    *events, done = told.decode().strip().split("\n\n")
    chunks = [TextChunkWithUsage.model_validate_json(event[6:]) for event in events]
    pieces = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(piece.text for piece in pieces) == whole.choices[0].text
    assert pieces[-1].finish_reason in {"stop", "length"}
    assert (chunks[-1].choices, chunks[-1].usage.prompt_tokens > 0) == ([], True)
    assert done == "data: [DONE]"


async def test_a_prompt_is_scored(engine):
    """With `echo` and no tokens, the prompt comes back with how likely it is, and nothing was made."""
    envelope = TEXT.model_copy(update={"only_echoes": True})
    scored = await continue_text(engine, envelope, echo=True, logprobs=1, max_tokens=0)
    choice = scored.choices[0]
    assert choice.text == "The sky"
    assert choice.logprobs.token_logprobs[0] is None
    assert all(logprob < 0 for logprob in choice.logprobs.token_logprobs[1:])
    assert (choice.finish_reason, scored.usage.completion_tokens) == ("length", 0)


async def test_the_best_of_several_texts(engine):
    """Of several candidates those come back whose tokens are likelier, the likeliest first."""
    options = {"n": 8, "temperature": 1, "seed": 5, "logprobs": 0}
    made = await continue_text(engine, **options)
    best = await continue_text(engine, TEXT.model_copy(update={"candidates": 8, "n": 2}), **options)

    def mean(choice: TextChoice) -> float:
        return fmean(choice.logprobs.token_logprobs)

    likeliest = sorted(map(mean, made.choices), reverse=True)[:2]
    assert [mean(choice) for choice in best.choices] == pytest.approx(likeliest)


async def test_texts_that_are_too_long_are_refused_in_openais_words(engine):
    """The refusal names the prompt."""
    with pytest.raises(InvalidRequest) as refused:
        await continue_text(engine, prompt="word " * 2000)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")


async def test_a_function_is_called(engine):
    """An engine that must call a function does, and the client sees the deprecated shape."""
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    function = {"name": "find", "parameters": nothing}
    asked = ChatRequest.model_validate(
        {
            "model": "nano",
            "messages": question("Find it."),
            "functions": [function],
            "function_call": {"name": "find"},
            "temperature": 0,
            "max_tokens": 40,
        }
    )
    body = to_upstream(asked, cache_salt="s") | {"model": engine.base_name}
    envelope = ENVELOPE.model_copy(update={"calls_functions": asked.calls_functions})
    async with engine.vllm.chat(body) as answer:
        message = read_completion(await answer.read(), envelope).choices[0].message
    assert (message.function_call.name, message.tool_calls) == ("find", None)


async def test_salts_part_the_prefix_caches(engine):
    """A prompt is found in the cache under the same salt, and not under another's."""

    async def cached_tokens(salt: str) -> int:
        body = {"model": engine.base_name, "messages": question("word " * 400), "max_tokens": 1}
        async with engine.vllm.chat(body | {"cache_salt": salt}) as answer:
            usage = read_completion(await answer.read(), ENVELOPE).usage
        return usage.prompt_tokens_details.cached_tokens

    one, other = "1" * 64, "2" * 64
    assert await cached_tokens(one) == 0
    assert await cached_tokens(one) > 0
    assert await cached_tokens(other) == 0


async def test_prompts_are_rendered_as_in_training(engine):
    """VLLM renders a conversation with tools to the very tokens that training saw."""
    renderer = Renderer.load(NANO_DIR)
    messages = [
        InstructionMessage(role="system", content="Be brief."),
        UserMessage(role="user", content="Wie geht's? 🙂"),
    ]
    tools = [
        Tool.model_validate(
            {
                "type": "function",
                "function": {
                    "name": "find",
                    "description": "Finds.",
                    "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
                },
            }
        )
    ]
    for given in ([], tools):
        served = await engine.vllm.tokenize(
            [message.model_dump(exclude_none=True) for message in messages],
            [tool.model_dump(exclude_none=True) for tool in given] or None,
        )
        assert served == renderer.render_prompt(messages, given)


def samples_of(renderer: Renderer) -> RenderingSamples:
    """What would travel with an adapter whose training file is all of our conversations."""
    chooser = SampleChooser(renderer)
    for messages in CONVERSATIONS.values():
        fields = {"messages": [*messages, answer("So it is.")], "tools": TOOLS}
        example = ChatExample.model_validate(fields)
        chooser.look_at(example, renderer.render(example, 1024))
    return chooser.chosen()


async def test_samples_that_travel_are_rendered_as_in_training(engine):
    """A real vLLM renders every conversation that travels with an adapter to the tokens that it trained on."""
    samples = samples_of(Renderer.load(NANO_DIR))
    report = await compare_rendering(engine.vllm, samples, model=engine.base_name)
    assert (report.n_samples, report.differences) == (8, [])


@pytest.mark.parametrize("family", ["chatml", "llama", "gemma", "qwen3"])
async def test_another_template_is_found(engine, family):
    """What was trained with another family's template is asked by this engine with other tokens."""
    tokenizer = Tokenizer.from_file(str(NANO_DIR / "tokenizer.json"))
    template = ChatTemplate({"default": TEMPLATES[family]}, {})
    samples = samples_of(Renderer(tokenizer, template, [2, 0]))
    report = await compare_rendering(engine.vllm, samples, model=engine.base_name)
    assert report.is_all_different


async def test_a_model_that_is_not_there_is_not_a_missing_route(engine):
    """A real vLLM's 404 for a model is told apart from an engine that does not render at all."""
    with pytest.raises(AdapterMissing):
        await engine.vllm.tokenize([{"role": "user", "content": "a"}], model="adapter-none")


async def test_refusals_of_the_real_one_are_openais(engine):
    """A real vLLM's refusals are the ones that our table of OpenAI's sentences knows."""
    with pytest.raises(InvalidRequest) as too_long:
        await ask(engine, engine.base_name, "word " * 2000)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(InvalidRequest) as too_much:
        await ask(engine, engine.base_name, "Hello", max_tokens=5000)
    assert (too_much.value.param, too_much.value.code) == ("max_tokens", "invalid_value")
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    with pytest.raises(InvalidRequest) as no_images:
        await ask(engine, engine.base_name, image)
    assert engine.base_name not in no_images.value.message


async def test_scoring_beside_chats_hurts_nobody(engine, adapters, rows):
    """Prompts are scored in the same steps in which chats are answered, and the engine lives on.

    Without `--lora-target-modules` the CPU's engine 0.32 dies of this.
    """
    name = await loaded(engine, adapters["trained"])
    asked = [row.token_ids for row in rows]
    alone = await engine.vllm.prompt_logprobs(name, asked)
    *_, mixed = await asyncio.gather(
        *(ask(engine, engine.base_name, f"Say {n}", max_tokens=40) for n in range(6)),
        engine.vllm.prompt_logprobs(name, asked),
    )
    assert mixed == alone
    assert [len(scores) for scores in alone] == [len(ids) for ids in asked]
    assert await engine.vllm.is_healthy()


async def test_vllm_holds_no_secret(engine):
    """The engine's environment, as the kernel has it, holds nothing of ours."""
    kernels = Path(f"/proc/{engine.process.pid}/environ")
    environment = (await asyncio.to_thread(kernels.read_bytes)).split(b"\0")
    assert b"VLLM_PLUGINS=retune_cpu_lora" in environment
    assert not [
        line for line in environment if line.startswith((b"RETUNE_", b"DATABASE", b"OPENAI"))
    ]


async def test_an_honest_adapter_is_proven(engine, adapters, proof):
    """What transformers and PEFT compute for a trained adapter, vLLM serves."""
    baseline = await measure_base(engine.vllm, proof, base=engine.base_name)
    name = await loaded(engine, adapters["trained"])
    report = await prove(engine.vllm, proof, base=engine.base_name, adapter=name, baseline=baseline)
    assert report.warnings == []
    assert report.base_difference < 0.1
    assert report.difference < report.tolerance / 2
    assert report.engine_effect == pytest.approx(report.trainer_effect, rel=0.05)


FAULTS = {
    "zeros": lambda adapter, to: scaled_copy(adapter, to, 0),
    "ignored names": lambda adapter, to: renamed_copy(
        adapter, to, "base_model.model.model.", "base_model.model."
    ),
    "half its alpha": lambda adapter, to: changed_copy(adapter, to, lora_alpha=8),
    "four fifths of its alpha": lambda adapter, to: changed_copy(adapter, to, lora_alpha=12.8),
    "five fourths of its alpha": lambda adapter, to: changed_copy(adapter, to, lora_alpha=20),
    "twice its alpha": lambda adapter, to: changed_copy(adapter, to, lora_alpha=32),
    "another rank in its scale": lambda adapter, to: changed_copy(adapter, to, use_rslora=True),
    "one module ignored": lambda adapter, to: partial_copy(adapter, to, ".down_proj."),
    "attention ignored": lambda adapter, to: partial_copy(adapter, to, ".self_attn."),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_faults_that_vllm_accepts_are_not_proven(engine, adapters, rows, tmp_path, fault):
    """An adapter that vLLM loads with a 200 and serves otherwise than trained is refused."""
    spoilt = FAULTS[fault](adapters["trained"], tmp_path / "spoilt")
    await refuse_proof(engine, adapters["trained"], spoilt, rows)


FORMATS = {
    "dora": {"use_dora": True},
    "saved modules": {"modules_to_save": ["norm"]},
    "an extra target": {"target_modules": ["q_proj", "lm_head"]},
    "a bias": {"bias": "lora_only", "lora_bias": True},
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("says_so", [True, False])
async def test_formats_that_vllm_does_not_serve_do_not_pass(
    engine, rows, tmp_path, format, says_so
):
    """An adapter of a format of PEFT's that vLLM has not is refused, though its config hides it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's own, of tied weights
        adapter = random_adapter(NANO_DIR, tmp_path / "new", scale=0.3, **FORMATS[format])
        proof = proof_of(NANO_DIR, adapter, rows)
    if not says_so:
        plain = {"use_dora": False, "modules_to_save": None, "bias": "none", "lora_bias": False}
        adapter = changed_copy(adapter, tmp_path / "hidden", **plain)
    with pytest.raises(AdapterRejected):
        inspect_adapter(adapter, NANO_DIR, max_rank=64)
    baseline = await measure_base(engine.vllm, proof, base=engine.base_name)
    with pytest.raises(JobFailure) as refused:
        name = await loaded(engine, adapter)
        await prove(engine.vllm, proof, base=engine.base_name, adapter=name, baseline=baseline)
    # That one vLLM takes, and serves only the modules that its command line names.
    assert refused.value.code == (
        "adapter_not_proven" if format == "an extra target" else "adapter_rejected"
    )


async def test_another_base_is_not_proven(engine, adapters, rows, tmp_path):
    """What was trained on another base is refused, though the adapter fits this one."""
    other = changed_base(NANO_DIR, tmp_path / "other", noise=0.1)
    proof = proof_of(other, adapters["trained"], rows)
    baseline = await measure_base(engine.vllm, proof, base=engine.base_name)
    name = await loaded(engine, adapters["trained"])
    with pytest.raises(JobFailure, match="base is not the one"):
        await prove(engine.vllm, proof, base=engine.base_name, adapter=name, baseline=baseline)


async def test_another_jobs_adapter_is_not_proven(engine, adapters, rows):
    """The adapter of another job under this job's name is refused."""
    await refuse_proof(engine, adapters["trained"], adapters["other"], rows)


async def refuse_proof(engine: RunningEngine, trained: Path, served: Path, rows: list[Row]) -> None:
    proof = proof_of(NANO_DIR, trained, rows)
    baseline = await measure_base(engine.vllm, proof, base=engine.base_name)
    name = await loaded(engine, served)
    with pytest.raises(JobFailure) as refused:
        await prove(engine.vllm, proof, base=engine.base_name, adapter=name, baseline=baseline)
    assert refused.value.code == "adapter_not_proven"


async def test_a_changed_base_is_not_proven(engine, adapters, proof):
    """A proof against a base that answered otherwise before the load is refused."""
    measured = await measure_base(engine.vllm, proof, base=engine.base_name)
    moved = Baseline(logprobs=[[p - 0.4 for p in example] for example in measured.logprobs])
    name = await loaded(engine, adapters["trained"])
    with pytest.raises(JobFailure):
        await prove(engine.vllm, proof, base=engine.base_name, adapter=name, baseline=moved)


async def test_rows_as_long_as_the_context_are_measured(engine, adapters, rows):
    """A row that fills the whole context is judged but for the token that vLLM has no room for."""
    long = Row(token_ids=(rows[0].token_ids * 100)[: engine.base.context_length], answer_start=1000)
    proof = proof_of(NANO_DIR, adapters["trained"], [long])
    baseline = await measure_base(engine.vllm, proof, base=engine.base_name)
    assert len(baseline.logprobs[0]) == len(proof.examples[0].positions) - 1


def test_what_is_proven_passes_the_check_before(adapters):
    """The adapters of these tests are ones that may be loaded at all."""
    for adapter in adapters.values():
        assert inspect_adapter(adapter, NANO_DIR, max_rank=64).n_layers == 42
