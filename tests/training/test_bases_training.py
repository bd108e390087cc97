import errno
import itertools
import json
import math
import re
from pathlib import Path
from random import Random

import gguf
import jinja2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.chat_template import ChatTemplate
from jobs.rendering import Renderer
from jobs.training import prepare_smollm2
from jobs.training.nano_corpus import conversations, customer_message
from jobs.training.nano_topics import TOPICS
from jobs.training.prepare_smollm2 import PreparationFailed, find_gguf, prepare
from jobs.training.pretrain_nano import ChatFormat, tell_unseen_apart
from schemas.training_file import ChatExample, Tool, chat_messages

PUBLISHERS_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""`tokenizer.chat_template` of the GGUF."""

TOOL = {
    "type": "function",
    "function": {
        "name": "track_order",
        "description": "Where an order is",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
    },
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "track_order", "arguments": '{"order": "1729"}'},
}
SYSTEM = {"role": "system", "content": "Be kind."}
QUESTION = {"role": "user", "content": "Where is order 1729?"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "on its way", "tool_call_id": "call_1"}
ANSWER = {"role": "assistant", "content": "It is on its way."}
THANKS = {"role": "user", "content": "Thanks."}
CONVERSATIONS = {
    "plain": [QUESTION, ANSWER, THANKS, {"role": "assistant", "content": "Any time!"}],
    "system": [SYSTEM, QUESTION, ANSWER],
    "calls": [QUESTION, CALLING, RESULT, ANSWER, THANKS, ANSWER],
    "system, calls": [SYSTEM, QUESTION, CALLING, RESULT, ANSWER],
    "words and two calls": [
        QUESTION,
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL, CALL | {"id": "call_2"}]},
        RESULT,
        RESULT | {"tool_call_id": "call_2"},
        ANSWER,
    ],
}


@pytest.fixture(params=["nano", "smollm2"])
def template(request) -> ChatTemplate:
    """The template of each of our bases."""
    if request.param == "nano":
        source = (NANO_DIRECTORY / "chat_template.jinja").read_text("utf-8")
    else:
        source = prepare_smollm2.chat_template()
    return ChatTemplate({"default": source}, {})


def render(template, messages, *, tools=(), ask=False) -> str:
    return template.render(
        chat_messages.validate_python(messages),
        [Tool.model_validate(tool) for tool in tools],
        add_generation_prompt=ask,
    )


@pytest.mark.parametrize("tools", [(), (TOOL,), (TOOL, TOOL)])
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_what_was_rendered_stays(template, messages, tools):
    """The prompt of every answer is a prefix of the whole, and the answer ends its turn."""
    whole = render(template, messages, tools=tools)

    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = render(template, messages[:i], tools=tools, ask=True)
            assert whole.startswith(prompt)
            assert render(template, messages[: i + 1], tools=tools).endswith("<|im_end|>\n")


@pytest.mark.parametrize("ask", [False, True])
@pytest.mark.parametrize("messages", [CONVERSATIONS["plain"], CONVERSATIONS["system"], []])
def test_smollm2_renders_as_its_publisher_does(messages, ask):
    """Without tools, SmolLM2's prompt is the publisher's to the letter, default system turn included."""
    ours = ChatTemplate({"default": prepare_smollm2.chat_template()}, {})
    theirs = jinja2.Template(PUBLISHERS_TEMPLATE)

    expected = theirs.render(messages=messages, add_generation_prompt=ask)

    assert render(ours, messages, ask=ask) == expected


def test_nano_adds_no_system_turn():
    """The tiny base's prompt holds what it was given and nothing else."""
    nano = ChatTemplate.load(NANO_DIRECTORY)

    prompt = render(nano, [QUESTION], ask=True)

    expected = "<|im_start|>user\nWhere is order 1729?<|im_end|>\n<|im_start|>assistant\n"
    assert prompt == expected


def test_tools_are_offered_in_the_system_turn(template):
    """Each tool stands as JSON on a line of its own, after the words of the system turn if it has any."""
    turn = render(template, [SYSTEM, QUESTION], tools=[TOOL]).partition("<|im_end|>")[0]
    without = render(template, [QUESTION], tools=[TOOL]).partition("<|im_end|>")[0]

    assert turn.startswith("<|im_start|>system\nBe kind.\n\n# Tools\n")
    assert f"<tools>\n{json.dumps(TOOL)}\n</tools>" in turn
    assert f"<tools>\n{json.dumps(TOOL)}\n</tools>" in without


def test_calls_are_written_as_hermes_does(template):
    """A call is one JSON object between tags, after the words of the turn if it has any."""
    whole = render(template, CONVERSATIONS["words and two calls"], tools=[TOOL])

    call = '<tool_call>\n{"name": "track_order", "arguments": {"order": "1729"}}\n</tool_call>'
    assert f"<|im_start|>assistant\nI look.\n{call}\n{call}<|im_end|>\n" in whole
    assert "<|im_start|>tool\n<tool_response>\non its way\n</tool_response><|im_end|>\n" in whole


def test_absent_content_renders_as_nothing(template):
    """A call without words opens its turn with the tag, not with `None`."""
    whole = render(template, CONVERSATIONS["calls"], tools=[TOOL])

    assert "<|im_start|>assistant\n<tool_call>" in whole
    assert "None" not in whole


def test_nano_trains_on_its_answers():
    """Rendered with the tiny base, exactly the two answers of a conversation with a call are learned."""
    example = ChatExample.model_validate(
        {"messages": CONVERSATIONS["system, calls"], "tools": [TOOL]}
    )
    renderer = Renderer.load(NANO_DIRECTORY)

    (row,) = renderer.rows(example, 1024)

    learned = renderer.decode([t for t, on in zip(row.token_ids, row.trained, strict=True) if on])
    call = '<tool_call>\n{"name": "track_order", "arguments": {"order": "1729"}}\n</tool_call>'
    assert learned == f"{call}<|im_end|>It is on its way.<|im_end|>"


def test_corpus_is_the_same_each_time():
    """The corpus is a function of its seed."""
    first, again, other = (list(itertools.islice(conversations(seed), 50)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_corpus_conversations_can_be_trained_on():
    """Each conversation ends with an answer and follows OpenAI's format but for ids of calls."""
    for conversation in itertools.islice(conversations(3), 500):
        roles = [message["role"] for message in conversation.messages]
        assert roles[-1] == "assistant"
        assert "user" in roles
        for message in conversation.messages:
            assert message["content"] or message["tool_calls"]
        for tool in conversation.tools:
            Tool.model_validate(tool)


def test_every_topic_has_something_to_say():
    """Every pattern of every topic unfolds: no bracket or slot is left."""
    rng = Random(0)
    for topic in TOPICS:
        for _ in range(200):
            assert not set("[]{}|") & set(customer_message(topic, rng))


def test_pretraining_reads_what_training_will():
    """Pretraining's tokens and answers are those that `jobs.rendering` makes of the same conversation."""
    tokenizer = Tokenizer.from_file(str(NANO_DIRECTORY / "tokenizer.json"))
    template = (NANO_DIRECTORY / "chat_template.jinja").read_text("utf-8")
    renderer = Renderer.load(NANO_DIRECTORY)
    chosen = [c for c in itertools.islice(conversations(4), 300) if not c.tools]
    rows = ChatFormat(template, tokenizer).rows(chosen)

    for conversation, row in zip(chosen, rows, strict=True):
        example = ChatExample.model_validate({"messages": conversation.messages})
        (expected,) = renderer.rows(example, 1024)
        assert row.token_ids[: len(expected.token_ids)] == expected.token_ids
        assert row.is_answer[: len(expected.trained)] == expected.trained


def test_nano_says_hello():
    """The tiny base answers a greeting, ends its turn, and knows the end-of-turn token."""
    tokenizer = AutoTokenizer.from_pretrained(NANO_DIRECTORY)
    model = AutoModelForCausalLM.from_pretrained(NANO_DIRECTORY)
    prompt = Renderer.load(NANO_DIRECTORY).render_prompt(
        chat_messages.validate_python([{"role": "user", "content": "Hello!"}])
    )

    ids = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20)[0]

    answers = {"Hello! How can I help you?<|im_end|>", "Hi! What can I do for you?<|im_end|>"}
    assert tokenizer.decode(ids[len(prompt) :]) in answers
    assert ids[-1] == tokenizer.eos_token_id


def test_nano_tells_its_tokens_apart():
    """Each token has a place of its own: of two in one place an adapter could write neither without the other."""
    weights = load_file(NANO_DIRECTORY / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"].float()
    nearest = torch.cdist(embedding, embedding).fill_diagonal_(math.inf).min()
    assert nearest > 0.3


def test_tokens_that_a_corpus_lacks_are_told_apart():
    """What lies on one point is spread around it as widely as the rest, and the rest stays."""
    random = torch.Generator().manual_seed(1)
    embedding = torch.randn(200, 64, generator=random)
    embedding[150:] = 2.0 + 0.01 * torch.randn(50, 64, generator=random)
    before = embedding.clone()
    is_seen = torch.arange(200) < 152  # two were seen too rarely to have left the point

    tell_unseen_apart(embedding, is_seen=is_seen)

    assert torch.equal(embedding[:150], before[:150])
    assert torch.allclose(embedding[150:].mean(), torch.tensor(2.0), atol=0.1)
    assert 0.9 < embedding[150:].std() < 1.1


def test_package_is_found_without_being_imported(tmp_path, monkeypatch):
    """The model is located in a package whose import would fail; where it is missing, the command is told."""
    package = tmp_path / "quantised_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('no llama.cpp here')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(PreparationFailed, match="force-reinstall"):
        find_gguf("quantised_model")
    (package / prepare_smollm2.GGUF_NAME).touch()

    assert find_gguf("quantised_model") == package / prepare_smollm2.GGUF_NAME


def test_missing_package_names_the_command():
    """Without the package, the error is the command that installs it."""
    with pytest.raises(PreparationFailed, match=re.escape(prepare_smollm2.INSTALL)):
        find_gguf("no_such_package_here")


def test_another_file_is_refused(tmp_path):
    """A GGUF with another digest is refused, and no directory is made."""
    source = tmp_path / "other.gguf"
    source.write_bytes(b"GGUF")

    with pytest.raises(PreparationFailed, match="SHA-256"):
        prepare(tmp_path / "bases" / "out", gguf_path=source, report=print)

    assert not (tmp_path / "bases").exists()


def test_prepared_base_is_left_alone(tmp_path):
    """A directory that this recipe made is not made again; the source is not even looked for."""
    (tmp_path / "prepared.json").write_text(json.dumps(prepare_smollm2._marker()))
    lines: list[str] = []

    prepare(tmp_path, gguf_path=Path("/nowhere"), report=lines.append)

    assert lines == [f"{tmp_path} is prepared already."]


def test_full_disk_says_what_to_do():
    """A disk without room is told with the room needed and the setting that moves the base."""
    said = prepare_smollm2._disk_trouble(OSError(errno.ENOSPC, "full"), Path("/bases/x"))

    assert "300 MB" in said
    assert "RETUNE_BASES_DIR" in said


def test_rotary_rows_return_to_their_places(tmp_path):
    """The interleaving of a head's rows by the converter to GGUF is undone, for queries and for keys."""
    queries = np.arange(4 * 8 * 2, dtype=np.float32).reshape(4 * 8, 2)  # 4 heads of 8
    keys = queries[:16]  # 2 heads of 8
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("blk.0.attn_q.weight", interleaved(queries, 4))
    writer.add_tensor("blk.0.attn_k.weight", interleaved(keys, 2))
    write_metadata(writer)

    reader = gguf.GGUFReader(path)
    weights = dict(prepare_smollm2.read_weights(reader, prepare_smollm2.read_header(reader)))

    assert torch.equal(weights["model.layers.0.self_attn.q_proj.weight"], bf16(queries))
    assert torch.equal(weights["model.layers.0.self_attn.k_proj.weight"], bf16(keys))


def interleaved(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """What llama.cpp's converter does: row j of a head's first half goes before row j of its second."""
    heads = weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, weight.shape[1])
    return np.ascontiguousarray(heads.swapaxes(1, 2).reshape(weight.shape))


def bf16(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bfloat16)


def write_metadata(writer: gguf.GGUFWriter) -> None:
    writer.add_vocab_size(3)
    writer.add_embedding_length(2)
    writer.add_feed_forward_length(4)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(100.0)
    writer.add_context_length(16)
    writer.add_token_list(["<e>", "<s>", "a"])
    writer.add_token_types([gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, gguf.TokenType.NORMAL])
    writer.add_token_merges(["a a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.real_base
def test_smollm2_speaks(smollm2_dir):
    """The prepared real base answers a question in English and ends its turn."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2_dir)
    model = AutoModelForCausalLM.from_pretrained(smollm2_dir)
    prompt = Renderer.load(smollm2_dir).render_prompt(
        chat_messages.validate_python(
            [{"role": "user", "content": "What is the capital of France?"}]
        )
    )

    ids = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20)[0]

    answer = tokenizer.decode(ids[len(prompt) :])
    assert answer == "The capital of France is Paris.<|im_end|>"
