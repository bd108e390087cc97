"""Our rendering held against the libraries that it stands in for: transformers, and vLLM itself."""

import itertools
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from jobs.chat_template import ChatTemplate, TemplateRefused, read_special_tokens
from jobs.rendering import Renderer
from jobs.template_messages import conversation_for_template, tool_for_template
from schemas.training_file import ChatExample
from tests.jobs.chat_templates import TEMPLATES
from tests.jobs.conversations import CONVERSATIONS, TOOLS
from tests.jobs.family_templates import FAMILIES, write_base


@pytest.fixture(scope="module")
def families_dir(nano_dir, tmp_path_factory) -> Path:
    """A tokenizer with the special tokens of all families, and Mistral's begin and end."""
    first, *others = sorted(FAMILIES.values(), key=lambda family: family.end != "</s>")
    return write_base(tmp_path_factory.mktemp("families"), nano_dir, first, *others)


@pytest.fixture(params=["nano", "families", pytest.param("smollm2", marks=pytest.mark.real_base)])
def base_dir(request) -> Path:
    return request.getfixturevalue(f"{request.param}_dir")


def cases(base_dir):
    """Templates, each with every conversation, without and with tools: the families', or the base's and others."""
    own = (base_dir / "chat_template.jinja").read_text()
    published = [family.template for family in FAMILIES.values()]
    templates = published if own in published[:-1] else [own, *TEMPLATES.values()]
    yield from itertools.product(templates, CONVERSATIONS.values(), [None, TOOLS])


class Ours:
    """A base's tokenizer and special tokens with any template."""

    def __init__(self, base_dir):
        self.renderer = Renderer.load(base_dir)
        special_tokens = read_special_tokens(base_dir)
        self.template = cache(lambda source: ChatTemplate({"default": source}, special_tokens))

    def render(self, source, messages, tools, *, add_generation_prompt=True):
        """The text and ids that we make; None where the template refuses."""
        chat = ChatExample.model_validate({"messages": messages, "tools": tools})
        try:
            text = self.template(source).render(
                chat.messages, chat.offered_tools, add_generation_prompt=add_generation_prompt
            )
        except TemplateRefused:
            return None
        return {"text": text, "ids": self.renderer._encode(text)}


def theirs(library, base_dir, asked, tmp_path):
    """What the library answers, asked in a process of its own."""
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    paths = [base_dir, tmp_path / "asked.json", tmp_path / "answered.json"]
    module = f"tests.jobs.{library}_renders"
    ran = subprocess.run(
        [sys.executable, "-m", module, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads((tmp_path / "answered.json").read_text())


@pytest.mark.training
def test_transformers_renders_the_same(base_dir, tmp_path):
    """Given the same messages, transformers gives the same text and ids, for every family of template."""
    ours = Ours(base_dir)
    asked, expected = [], []
    for (source, messages, tools), prompt in itertools.product(cases(base_dir), [True, False]):
        expected.append(ours.render(source, messages, tools, add_generation_prompt=prompt))
        asked.append(
            {
                "template": source,
                "add_generation_prompt": prompt,
                **for_template(ours.template(source), messages, tools),
            }
        )
    assert theirs("transformers", base_dir, asked, tmp_path) == expected


def for_template(template, messages, tools):
    """What our template is given."""
    compiled = template._compiled["default"]
    chat = ChatExample.model_validate({"messages": messages, "tools": tools})
    conversation = conversation_for_template(
        chat.messages,
        content_format=compiled.content_format,
        knows_developers=compiled.knows_developers,
    )
    offered = [tool_for_template(tool) for tool in chat.offered_tools]
    return {"messages": conversation, "tools": offered or None}


@pytest.mark.engine
def test_vllm_renders_the_same(base_dir, tmp_path):
    """Given the same request, vLLM gives the same text and ids, for every family of template."""
    asked = [
        {"template": source, "messages": messages, "tools": tools}
        for source, messages, tools in cases(base_dir)
    ]
    ours = Ours(base_dir)
    expected = [ours.render(*case) for case in cases(base_dir)]
    assert theirs("vllm", base_dir, asked, tmp_path) == expected


def test_families_differ(nano_dir):
    """The templates exercise both forms of content, both kinds of developer, and refusals."""
    compiled = [ChatTemplate({"default": s}, {})._compiled["default"] for s in TEMPLATES.values()]
    assert {one.content_format for one in compiled} == {"string", "openai"}
    assert {one.knows_developers for one in compiled} == {True, False}
    ours = Ours(nano_dir)
    assert any(ours.render(*case) is None for case in cases(nano_dir))
