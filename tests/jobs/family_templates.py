"""The formats of the model families, as they publish them, in templates of our own.

Each writes the family's own special tokens and has its habits: what it trims, where it puts system and tools,
what it forgets, what it refuses. `jobs/bases/nano/chat_template.jinja` is ours.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Tokenizer

from jobs.bases.catalog import NANO_DIRECTORY

# Trims everything; prints the date; tools stand in the first question; one call a turn, results as `ipython`.
LLAMA_3 = """
{{- bos_token }}
{%- set ns = namespace(system='', first=true) %}
{%- set turns = messages %}
{%- if messages[0].role == 'system' %}
    {%- set ns.system = messages[0].content | trim %}
    {%- set turns = messages[1:] %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{%- if tools %}{{- 'Environment: ipython\\n' }}{%- endif %}
{{- 'Cutting Knowledge Date: December 2023\\nToday Date: ' + strftime_now('%d %b %Y') + '\\n\\n' }}
{{- ns.system + '<|eot_id|>' }}
{%- for turn in turns %}
    {%- if turn.tool_calls %}
        {%- if turn.tool_calls | length != 1 %}{{- raise_exception('One tool call at a time') }}{%- endif %}
        {%- set called = turn.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + called.name + '", ' }}
        {{- '"parameters": ' + called.arguments | tojson + '}<|eot_id|>' }}
    {%- elif turn.role == 'tool' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + turn.content | tojson + '<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + turn.role + '<|end_header_id|>\\n\\n' }}
        {%- if tools and ns.first and turn.role == 'user' %}
            {{- 'Answer with a call of one of these functions.\\n\\n' }}
            {%- for tool in tools %}{{- tool | tojson(indent=4) + '\\n\\n' }}{%- endfor %}
            {%- set ns.first = false %}
        {%- endif %}
        {{- turn.content | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

# ChatML with a system turn of its own where there is none; results of tools share one user's turn.
QWEN_2_5 = """
{%- set system = messages[0].content if messages[0].role == 'system' else 'You are helpful.' %}
{{- '<|im_start|>system\\n' + system }}
{%- if tools %}
    {{- '\\n\\n# Tools\\n\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
    {{- '\\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- elif not message.tool_calls %}{{- '\\n' }}{%- endif %}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

# Thoughts are kept behind the last question only, and an answer there has one, empty if need be.
QWEN_3 = """
{%- set ns = namespace(last_question=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{%- set ns.last_question = loop.index0 %}{%- endif %}
{%- endfor %}
{%- if tools or messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + (messages[0].content if messages[0].role == 'system' else '') }}
    {%- if tools %}
        {{- '\\n\\n# Tools\\n\\n<tools>' }}
        {%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
        {{- '\\n</tools>' }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thought, said = '', message.content %}
        {%- if '</think>' in message.content %}
            {%- set thought = message.content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
            {%- set said = message.content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last_question and (loop.last or thought) %}
            {{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- said }}
        {%- for call in message.tool_calls or [] %}
            {%- if said or not loop.first %}{{- '\\n' }}{%- endif %}
            {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

# The system's text is the head of the first question; turns alternate; no tools; everything is trimmed.
GEMMA_3 = """
{{- bos_token }}
{%- set head, turns = '', messages %}
{%- if messages[0].role == 'system' %}
    {%- set head = (messages[0].content if messages[0].content is string else messages[0].content[0].text) + '\\n\\n' %}
    {%- set turns = messages[1:] %}
{%- endif %}
{%- for message in turns %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
    {{- head if loop.first else '' }}
    {%- if message.content is string %}{{- message.content | trim }}
    {%- else %}{%- for part in message.content %}{{- part.text | trim }}{%- endfor %}{%- endif %}
    {{- '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}
"""

# System and tools stand before the last question, the system only while nothing follows it; an answer begins
# with a blank; identifiers of calls have nine characters.
MISTRAL_3 = """
{%- set system, turns = none, messages %}
{%- if messages[0].role == 'system' %}
    {%- set system, turns = messages[0].content, messages[1:] %}
{%- endif %}
{%- set questions = turns | selectattr('role', 'equalto', 'user') | list %}
{{- bos_token }}
{%- for message in turns %}
    {%- if message.role == 'user' %}
        {%- if tools and message == questions[-1] %}
            {{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {%- if loop.last and system is not none %}{{- '[INST] ' + system + '\\n\\n' + message.content + '[/INST]' }}
        {%- else %}{{- '[INST] ' + message.content + '[/INST]' }}{%- endif %}
    {%- elif message.tool_calls %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- if call.id | length != 9 %}{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{%- endif %}
            {{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' + ('' if loop.last else ', ') }}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- elif message.role == 'assistant' %}{{- ' ' + message.content + eos_token }}
    {%- elif message.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | tojson + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('Only user, assistant and tool roles are supported') }}{%- endif %}
{%- endfor %}
"""

# As a lean ChatML with other words; a whole conversation, but no prompt, ends with one more token.
PHI_3 = """
{%- for message in messages %}
    {%- if message.role in ('system', 'user', 'assistant') %}
        {{- '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}
    {%- endif %}
{%- endfor %}
{{- '<|assistant|>\\n' if add_generation_prompt else eos_token }}
"""

# No line breaks; tools between tokens of their own, in the system's turn.
PHI_4_MINI = """
{%- for message in messages %}
    {{- '<|' + message.role + '|>' + message.content }}
    {%- if loop.first and message.role == 'system' and tools %}{{- '<|tool|>' + tools | tojson + '<|/tool|>' }}{%- endif %}
    {%- if message.tool_calls %}{{- '<|tool_call|>' + message.tool_calls | tojson + '<|/tool_call|>' }}{%- endif %}
    {{- '<|end|>' }}
{%- endfor %}
{{- '<|assistant|>' if add_generation_prompt else eos_token }}
"""

# ChatML with a system turn where there is none, and nothing for tools.
SMOLLM_2 = """
{%- for message in messages %}
    {%- if loop.first and messages[0].role != 'system' %}
        {{- '<|im_start|>system\\nYou are a small, helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


@dataclass(frozen=True)
class Family:
    """How a family writes, and where its models stop."""

    template: str
    end: str
    """Of a turn."""
    special: tuple[str, ...]
    """Tokens of its own, `end` among them."""
    bos: str | None = None
    eos: str | None = None
    """Of the tokenizer, where it is not `end`."""
    opens: str = ""
    """What an answer begins with, beside its own text."""


_CHATML: Final = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
FAMILIES: Final = {
    "llama-3": Family(
        LLAMA_3,
        end="<|eot_id|>",
        special=(
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ),
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
    ),
    "qwen-2.5": Family(QWEN_2_5, end="<|im_end|>", special=_CHATML, eos="<|endoftext|>"),
    "qwen-3": Family(QWEN_3, end="<|im_end|>", special=_CHATML, opens="<think>\n\n</think>\n\n"),
    "gemma-3": Family(
        GEMMA_3,
        end="<end_of_turn>",
        special=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        eos="<eos>",
    ),
    "mistral-3": Family(
        MISTRAL_3,
        end="</s>",
        special=(
            *("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"),
            *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
        ),
        bos="<s>",
        opens=" ",
    ),
    "phi-3": Family(
        PHI_3,
        end="<|end|>",
        special=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
        eos="<|endoftext|>",
    ),
    "phi-4-mini": Family(
        PHI_4_MINI,
        end="<|end|>",
        special=(
            *("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|/tool|>", "<|end|>"),
            *("<|tool_call|>", "<|/tool_call|>", "<|endoftext|>"),
        ),
        eos="<|endoftext|>",
    ),
    "smollm-2": Family(SMOLLM_2, end="<|im_end|>", special=_CHATML),
    "ours": Family(
        (NANO_DIRECTORY / "chat_template.jinja").read_text(), end="<|im_end|>", special=_CHATML
    ),
}


def write_base(directory: Path, nano_dir: Path, *families: Family) -> Path:
    """Write a model directory without weights: the tiny base's tokenizer, with the special tokens of families.

    Template, begin and end are the first one's.
    """
    tokenizer = Tokenizer.from_file(str(nano_dir / "tokenizer.json"))
    special = [token for family in families for token in family.special]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(directory / "tokenizer.json"))
    family = families[0]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": family.eos or family.end}
    config |= {"bos_token": family.bos} if family.bos else {}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    ends = [tokenizer.token_to_id(end) for end in (family.end, family.eos or family.end)]
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    (directory / "config.json").write_text("{}")
    (directory / "chat_template.jinja").write_text(family.template)
    return directory
