"""What vLLM makes of chat requests, by its own functions and without an engine.

A process of its own, because vLLM is never imported: `tests.jobs.test_rendering_parity` starts it.
Arguments: a base's directory, a file with a list of `{"template", "messages", "tools"}`, and where to
write the list of answers, each `{"text", "ids"}` or null.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from jinja2 import TemplateError
from transformers import AutoTokenizer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import VLLMValidationError
from vllm.renderers.chat_utils import parse_chat_messages
from vllm.renderers.hf import resolve_chat_template_content_format, safe_apply_chat_template

# What these functions read of an engine's configuration.
MODEL = SimpleNamespace(
    model="base",
    tokenizer="base",
    revision=None,
    code_revision=None,
    tokenizer_revision=None,
    trust_remote_code=False,
    hf_config=SimpleNamespace(model_type="llama"),
    multimodal_config=None,
    is_multimodal_model=False,
    enable_prompt_embeds=False,
)


def render(tokenizer, asked):
    """The prompt of a request, the way that `OnlineRenderer.render_chat` takes."""
    body = {key: asked[key] for key in ("messages", "tools") if asked[key]}
    request = ChatCompletionRequest.model_validate(body)
    tools = None if request.tools is None else [tool.model_dump() for tool in request.tools]
    template = asked["template"]
    content_format = resolve_chat_template_content_format(
        template, tools, "auto", tokenizer, model_config=MODEL
    )
    conversation, _, _ = parse_chat_messages(request.messages, MODEL, content_format=content_format)
    try:
        text = safe_apply_chat_template(
            MODEL,
            tokenizer,
            conversation,
            tools=tools,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
        )
    except (VLLMValidationError, TemplateError):
        return None
    return {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)}


if __name__ == "__main__":
    base_dir, asked, answered = map(Path, sys.argv[1:])
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    answers = [render(tokenizer, one) for one in json.loads(asked.read_text())]
    answered.write_text(json.dumps(answers))
