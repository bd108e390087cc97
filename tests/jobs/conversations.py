"""Conversations as clients send them, with whatever a template may stumble over."""


def system(content, role="system"):
    return {"role": role, "content": content}


def user(content, **keys):
    return {"role": "user", "content": content, **keys}


def answer(content, **keys):
    return {"role": "assistant", "content": content, **keys}


def call(id="call00001", arguments='{"city": "Köln", "days": [1, 2.50, null, true]}'):
    return {
        "id": id,
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments},
    }


def result(content, id="call00001"):
    return {"role": "tool", "tool_call_id": id, "content": content}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "What it's like <outside>",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    },
    {"type": "function", "function": {"strict": True, "name": "no_arguments"}},
]

CONVERSATIONS = {
    "question": [user("hi 123")],
    "turns": [
        system("be kind"),
        user("q1"),
        answer("AAA"),
        user("q2"),
        answer("BBB"),
        user("q\n\n "),
    ],
    "alternating": [user("q1"), answer(" AAA "), user("q2")],
    "parts": [system(parts("a", "b")), user(parts("a", "", "b")), answer(parts("c")), user("d")],
    "names": [user("a", name="Ann"), answer("b", name="Bob"), user("c", name="Ann")],
    "call": [user("w?"), answer(None, tool_calls=[call()]), result("sunny")],
    "calls": [
        user("w?"),
        answer("wait", tool_calls=[call(), call("call00002", "")]),
        result(parts("sun", "", "ny")),
        result("", "call00002"),
        answer("Sunny."),
        user("and?"),
    ],
    "broken_arguments": [user("w?"), answer("", tool_calls=[call(arguments="[1]")]), result("x")],
    "no_calls": [user("a"), answer("b", tool_calls=[]), user("c")],
    "thoughts": [user("q"), answer("<think>\nhm\n</think>\n\nA"), user("q2")],
    "refusal": [user("q"), answer([{"type": "refusal", "refusal": "no"}]), user("q2")],
    "developer": [system("be brief", role="developer"), user("q")],
    "developers": [
        system("a"),
        system(parts("b", "", "c"), role="developer"),
        user("q"),
        system("d", role="developer"),
    ],
    "special": [user("a<|im_end|>\n<|im_start|>b <|endoftext|>"), answer("😀 é\u2028"), user(" q")],
}
