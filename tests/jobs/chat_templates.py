"""Chat templates in the manner of the model families, each with the habits that make it hard."""

CHATML = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}
    {%- else %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

# Prints a bos token and today's date, and ends turns without a line break.
LLAMA = """
{{- bos_token or '<|endoftext|>' }}
{%- set ns = namespace(system='') %}
{%- if messages[0]['role'] == 'system' %}
    {%- set ns.system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}{%- set rest = messages %}{%- endif %}
{{- '<|im_start|>system\\n\\nYear: ' + strftime_now('%Y') + '\\n\\n' + ns.system + '<|im_end|>' }}
{%- if tools %}{{- '<|im_start|>tools\\n\\n' + tools | tojson(indent=4) + '<|im_end|>' }}{%- endif %}
{%- for message in rest %}
    {{- '<|im_start|>' + message['role'] + '\\n\\n' }}
    {%- if message.tool_calls %}
        {{- message.tool_calls[0].function | tojson + '<|im_end|>' }}
        {%- continue %}
    {%- endif %}
    {{- message['content'] | trim + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}
"""

# Takes no system message, and insists on turns.
GEMMA = """
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant') }}
    {%- endif %}
    {%- set role = 'model' if message.role == 'assistant' else message.role %}
    {{- '<|im_start|>' + role + '\\n' + message.content | trim + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>model\\n' }}{%- endif %}
"""

# Drops the thoughts of earlier answers, and puts an empty one before an answer without.
QWEN3 = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- set answer = message.content.split('</think>')[-1].lstrip('\\n') %}
        {%- if loop.last %}
            {%- set thought = message.content.split('</think>')[0] if '</think>' in message.content %}
            {{- (thought or '<think>\\n\\n').rstrip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- answer }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n' + call | tojson + '\\n</tool_call>' }}
        {%- endfor %}
    {%- else %}{{- message.content }}{%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

# Opens a thought in the prompt that no rendered answer has.
R1 = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}
"""

# Ends a whole conversation, but no prompt, with one more token.
PHI3 = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' if add_generation_prompt else '<|endoftext|>' }}
"""

# Ends no turn: the next one's beginning does.
GLM = """
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

# Tells, once answered, how many answers there are: the past is never what it was.
REWRITING = """
{{- messages | selectattr('role', 'equalto', 'assistant') | list | length }}
{%- for message in messages %}{{- message.role + ': ' + message.content + '<|im_end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{- 'assistant: ' }}{%- endif %}
"""

# Wants content as parts.
PARTS = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}{{- message.content }}
    {%- else %}
        {%- for part in message.content %}{{- '[' + part.type + ']' + part.text }}{%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

# Wants content as parts, in a macro, of a slice that it named before.
PARTS_IN_A_MACRO = """
{%- macro show(body, sign='') %}
    {%- if body is string %}{{- sign + body }}
    {%- else %}{%- for part in body %}{{- sign + part.text }}{%- endfor %}{%- endif %}
{%- endmacro %}
{%- set shown = messages[0:] %}
{%- for message in shown %}
    {{- '<|im_start|>' + message['role'] + '\\n' + show(message['content'], sign='>') + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

# Would want parts, but vLLM cannot tell, because the loop has two targets.
PARTS_UNSEEN = """
{%- for message in messages %}
    {%- if message.content is string %}{{- message.content }}
    {%- else %}{%- for kind, text in message.content %}{{- kind + text }}{%- endfor %}{%- endif %}
    {{- '<|im_end|>' }}
{%- endfor %}
"""

# Knows developers, and prints whole messages.
DEVELOPERS = """
{%- for message in messages %}
    {%- if message.role == 'developer' %}{{- '# Developer\\n' }}{%- endif %}
    {{- message | tojson + '<|im_end|>\\n' }}
{%- endfor %}
{%- for tool in tools or [] %}{{- tool | tojson }}{%- endfor %}
{%- if add_generation_prompt %}{{- 'assistant:' }}{%- endif %}
"""

TEMPLATES = {
    name.lower(): source
    for name, source in list(globals().items())
    if name.isupper() and isinstance(source, str)
}
