"""Training files that no job can use: what is in each, and what its owner must be told."""

import gzip
import json
from dataclasses import dataclass

GOOD = {
    "messages": [
        {"role": "user", "content": "Where is my card?"},
        {"role": "assistant", "content": "card_arrival"},
    ]
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "track", "arguments": '{"card": 1}'},
}


@dataclass(frozen=True)
class BadFile:
    """Bytes, and what the job's error must hold."""

    name: str
    content: bytes
    code: str
    says: tuple[str, ...]
    """Parts of the message: the place, the fault, the way out."""


def line(value=GOOD) -> bytes:
    """A line of a file, without its line break."""
    return json.dumps(value, ensure_ascii=False).encode()


def lines(*values, n_good=12) -> bytes:
    """A file of good lines whose last ones are `values`: objects, or bytes as they are."""
    end = [value if isinstance(value, bytes) else line(value) for value in values]
    return b"\n".join([line()] * n_good + end) + b"\n"


def chat(*messages, **keys) -> dict:
    return {"messages": list(messages), **keys}


def user(**keys) -> dict:
    return {"role": "user", "content": "Hello", **keys}


def answer(**keys) -> dict:
    return {"role": "assistant", "content": "Hi", **keys}


def bad(name, bad_line, *says, code="invalid_training_file") -> BadFile:
    """A file of twelve good lines with a bad thirteenth."""
    return BadFile(name, lines(bad_line), code, says)


_FORMAT = "invalid_file_format"
_NAN = b'{"type": "function", "function": {"name": "f", "parameters": {"a": NaN}}}'
_DEEP = b"[" * 150 + b"]" * 150

BAD_FILES = [
    # The file
    BadFile(
        "empty",
        b"",
        "invalid_n_examples",
        ("Training file has 0 example(s), but must have at least 10 examples",),
    ),
    BadFile(
        "too_few",
        lines(n_good=7),
        "invalid_n_examples",
        ("Training file has 7 example(s), but must have at least 10 examples",),
    ),
    BadFile(
        "only_blank_lines",
        b"\n \n\t\n" * 1000,
        "invalid_n_examples",
        ("has 0 example(s)",),
    ),
    BadFile(
        "byte_order_mark",
        b"\xef\xbb\xbf" + lines(),
        "invalid_training_file",
        ("Example 1 begins with a byte order mark (line 1)", "UTF-8 without BOM"),
    ),
    BadFile(
        "utf_16",
        lines().decode().encode("utf-16"),
        "invalid_training_file",
        ("Example 1 is not UTF-8: byte 0xff at column 1 (line 1)", "UTF-16"),
    ),
    BadFile(
        "gzip",
        gzip.compress(lines(), mtime=0),
        "invalid_training_file",
        ("line 1", "compressed"),
    ),
    BadFile(
        "spreadsheet",
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xff\xfe",
        "invalid_training_file",
        ("line 1", "spreadsheet"),
    ),
    BadFile(
        "json_array",
        json.dumps([GOOD] * 12).encode(),
        "invalid_training_file",
        ("Example 1 is not a JSON object but an array (line 1)", "on each line"),
    ),
    BadFile(
        "json_array_over_lines",
        json.dumps([GOOD] * 12, indent=1).encode(),
        "invalid_training_file",
        (
            "Example 1 is not valid JSON",
            "(line 1)",
            "JSON array",
            "and at least 49 more: lines 2, 3",
        ),
    ),
    BadFile(
        "pretty_printed",
        json.dumps(GOOD, indent=2).encode(),
        "invalid_training_file",
        ("Example 1", "(line 1)", "write it on one line"),
    ),
    BadFile(
        "csv",
        b"question,answer\nWhere is my card?,card_arrival\n",
        "invalid_training_file",
        ("Example 1 is not valid JSON", "(line 1)", "and 1 more: line 2."),
    ),
    BadFile(
        "blank_first_line",
        b"\n" + lines(),
        "invalid_training_file",
        ("begins with a blank line", "line 1"),
    ),
    BadFile(
        "blank_line_between",
        lines(b"", b" ", GOOD),
        "invalid_training_file",
        ("Example 12 is followed by a blank line (line 13)",),
    ),
    BadFile(
        "preference_pairs",
        lines(
            {
                "input": chat(user()),
                "preferred_output": [answer()],
                "non_preferred_output": [answer()],
            },
            n_good=0,
        ),
        "invalid_training_file",
        (
            "Input file file-abc is in the fine-tune-preference format, but the specified ",
            "is not using 'dpo' as the training method (provided method=supervised)",
            "(example 1, line 1)",
        ),
    ),
    BadFile(
        "chosen_and_rejected",
        lines({"prompt": "a", "chosen": "b", "rejected": "c"}, n_good=0),
        "invalid_training_file",
        ("prompt/chosen/rejected", "line 1"),
    ),
    BadFile(
        "prompts_and_completions",
        lines({"prompt": "a", "completion": "b"}, n_good=0),
        "invalid_training_file",
        ("Input file file-abc is in the prompt/completion format", "line 1", "user's message"),
    ),
    BadFile(
        "sharegpt",
        lines({"conversations": [{"from": "human", "value": "a"}]}, n_good=0),
        "invalid_training_file",
        ("ShareGPT", "line 1", '"role" for "from"'),
    ),
    BadFile(
        "alpaca",
        lines({"instruction": "a", "input": "", "output": "b"}, n_good=0),
        "invalid_training_file",
        ("Alpaca", "line 1"),
    ),
    BadFile(
        "batch",
        lines({"custom_id": "1", "method": "POST", "url": "/v1", "body": {}}, n_good=0),
        "invalid_training_file",
        ("the format of a batch", "line 1"),
    ),
    # A line
    bad("not_utf_8", '{"messages": "café"}'.encode("latin-1"), "Example 13", "0xe9", "line 13"),
    bad("cut_off", line()[:40], "Example 13", "line 13", "The line ends before the object does"),
    bad("two_objects", line() + line(), "Example 13", "line 13", "a line of its own"),
    bad("trailing_comma", line() + b",", "Example 13", "line 13", "a line of its own"),
    bad("single_quotes", str(GOOD).encode(), "Example 13", "line 13", "json.dumps"),
    bad("raw_tab_in_text", line().replace(b"Where is", b"Where\tis"), "line 13", "\\t"),
    bad("too_deep", b"[" * 100_000, "Example 13", "line 13", "nested more than 200 levels"),
    bad(
        "half_a_surrogate_pair",
        line().replace(b"card?", rb"card \ud83d"),
        "Example 13",
        "line 13",
        "half a character",
    ),
    bad("nul", line().replace(b"card?", rb"card\u0000"), "line 13", "holds the character \\u0000"),
    bad(
        "not_a_number",
        line()[:-1] + b', "tools": [' + _NAN + b"]}",
        "Example 13 holds a number that is not finite (line 13)",
    ),
    bad(
        "infinite",
        line()[:-1] + b', "tools": [' + _NAN.replace(b"NaN", b"1e999") + b"]}",
        "Example 13 holds a number that is not finite (line 13)",
    ),
    bad("number", b"42", "Example 13 is not a JSON object but a number (line 13)"),
    bad("string", b'"hello"', "Example 13 is not a JSON object but a string (line 13)"),
    bad("line_of_9_mb", line() + b" " * 9 * 2**20, "Example 13 is longer than 8 MiB (line 13)"),
    # Its keys
    bad(
        "no_messages",
        {"message": GOOD["messages"]},
        'Example 13 is missing key "messages" (line 13)',
        code=_FORMAT,
    ),
    bad(
        "extra_key",
        GOOD | {"weight": 1},
        'Example 13 contains an extra "weight" (line 13)',
        code=_FORMAT,
    ),
    bad("null_messages", {"messages": None}, "Example 13 has null as messages", "line 13"),
    bad(
        "messages_are_text", {"messages": "Hello"}, "Example 13 has a string as messages", "line 13"
    ),
    bad("no_message", {"messages": []}, "Example 13 has an empty array in messages", "line 13"),
    bad("tools_are_an_object", GOOD | {"tools": {}}, "Example 13 has an object as tools"),
    bad(
        "tool_without_function",
        GOOD | {"tools": [{"type": "function"}]},
        'Example 13 is missing key "function" in tools[0] (line 13)',
        code=_FORMAT,
    ),
    bad(
        "function_with_spaces",
        GOOD | {"tools": [{"type": "function", "function": {"name": "get weather"}}]},
        "Example 13 has tools[0].function.name 'get weather' (line 13)",
        "64 letters",
    ),
    bad(
        "other_tool",
        GOOD | {"tools": [{"type": "web_search"}]},
        "Example 13 has tools[0].type 'web_search', expected 'function' (line 13)",
    ),
    bad("no_functions", GOOD | {"functions": []}, "Example 13 has an empty array in functions"),
    bad(
        "parallel_as_text",
        GOOD | {"parallel_tool_calls": "yes"},
        "Example 13 has a string as parallel_tool_calls, expected true or false (line 13)",
    ),
    # Its messages
    bad("message_is_text", {"messages": ["Hi"]}, "Example 13, message 1 is a string", "line 13"),
    bad(
        "no_role",
        chat(user(), {"content": "Hi"}),
        "Invalid file format. Example 13, message 2 Discriminator 'role' is missing in value "
        "(line 13)",
        "system, user, assistant or tool",
    ),
    bad(
        "unknown_role",
        chat({"role": "human", "content": "Hello"}, answer()),
        "Example 13, message 1 has the unknown role 'human' (line 13)",
        'Write "user"',
    ),
    bad("role_is_a_number", chat({"role": 5, "content": "a"}), "message 1 has the unknown role"),
    bad(
        "no_content",
        chat({"role": "user"}, answer()),
        'Example 13, message 1 is missing key "content" (line 13)',
        code=_FORMAT,
    ),
    bad(
        "null_content",
        chat(user(content=None), answer()),
        "Example 13, message 1 has null as content, expected a string or an array",
        "line 13",
    ),
    bad(
        "content_is_a_number", chat(user(content=3), answer()), "message 1 has a number as content"
    ),
    bad("no_parts", chat(user(content=[]), answer()), "message 1 has an empty array in content"),
    bad(
        "part_without_text",
        chat(user(content=[{"type": "text"}]), answer()),
        'Example 13, message 1 is missing key "text" in content[0] (line 13)',
        code=_FORMAT,
    ),
    bad(
        "image",
        chat(user(content=[{"type": "image_url", "image_url": {"url": "x"}}]), answer()),
        "Example 13, message 1 has an image in content[0] (line 13)",
        "reads text only",
    ),
    bad(
        "audio",
        chat(user(content=[{"type": "input_audio", "input_audio": {}}]), answer()),
        "Example 13, message 1 has audio in content[0] (line 13)",
    ),
    bad(
        "image_in_an_answer",
        chat(user(), answer(content=[{"type": "image_url", "image_url": {"url": "x"}}])),
        "Example 13, message 2 has an image in content[0] (line 13)",
    ),
    bad(
        "weight_of_a_question",
        chat(user(weight=0), answer()),
        'Example 13, message 1 contains an extra "weight" (line 13)',
        "Only assistant messages",
        code=_FORMAT,
    ),
    bad(
        "weight_of_two",
        chat(user(), answer(weight=2)),
        "Example 13, message 2 has weight 2, expected 0 or 1 (line 13)",
    ),
    bad("weight_of_half", chat(user(), answer(weight=0.5)), "message 2 has weight 0.5", "line 13"),
    bad("weight_of_true", chat(user(), answer(weight=True)), "message 2 has weight True"),
    bad(
        "unknown_message_key",
        chat(user(sentiment="good"), answer()),
        'Example 13, message 1 contains an extra "sentiment" (line 13)',
        code=_FORMAT,
    ),
    bad(
        "long_and_unprintable_key",
        chat(user(**{"a\n" + "b" * 5000: 1}), answer()),
        f'Example 13, message 1 contains an extra "a\\n{"b" * 38}…" (line 13)',
        code=_FORMAT,
    ),
    bad(
        "no_answer",
        chat({"role": "system", "content": "Be kind."}, user()),
        "Example 13 has no assistant message (line 13)",
    ),
    bad(
        "question_last",
        chat(user(), answer(), user()),
        "Example 13 must end with an assistant message, but message 3 is from user (line 13)",
    ),
    bad(
        "empty_answer",
        chat(user(), {"role": "assistant"}),
        "Example 13, message 2 has neither content nor tool_calls (line 13)",
    ),
    bad(
        "arguments_are_an_object",
        chat(
            user(),
            answer(tool_calls=[CALL | {"function": {"name": "track", "arguments": {"card": 1}}}]),
        ),
        "Example 13, message 2 has an object as tool_calls[0].function.arguments, expected a "
        "string (line 13)",
        "json.dumps(arguments)",
    ),
    bad(
        "arguments_are_not_json",
        chat(
            user(),
            answer(tool_calls=[CALL | {"function": {"name": "track", "arguments": "{card: 1}"}}]),
        ),
        "Example 13, message 2 has tool_calls[0].function.arguments that are not JSON",
        "line 13",
    ),
    bad(
        "arguments_are_a_list",
        chat(
            user(),
            answer(function_call={"name": "track", "arguments": "[1]"}),
        ),
        "Example 13, message 2 has function_call.arguments that hold an array, expected an object",
        "line 13",
    ),
    bad(
        "call_without_id",
        chat(user(), answer(tool_calls=[{k: v for k, v in CALL.items() if k != "id"}])),
        'Example 13, message 2 is missing key "id" in tool_calls[0] (line 13)',
        code=_FORMAT,
    ),
    bad(
        "result_without_id",
        chat(user(), answer(tool_calls=[CALL]), {"role": "tool", "content": "ok"}, answer()),
        'Example 13, message 3 is missing key "tool_call_id" (line 13)',
        code=_FORMAT,
    ),
    bad(
        "result_of_no_call",
        chat(
            user(),
            answer(tool_calls=[CALL]),
            {"role": "tool", "tool_call_id": "call_2", "content": "ok"},
            answer(),
        ),
        "Example 13, message 3 answers the tool_call_id 'call_2', which no earlier assistant message "
        "calls (line 13)",
    ),
    bad(
        "function_of_no_call",
        chat(user(), {"role": "function", "name": "track", "content": "ok"}, answer()),
        "Example 13, message 2 is from a function that no earlier assistant message calls (line 13)",
    ),
    bad(
        "several",
        b"\n".join([line(chat(user(), answer(weight=3))), line(), b"{}", line({"messages": 1})]),
        "Example 13, message 2 has weight 3, expected 0 or 1 (line 13)",
        "… and 2 more: lines 15, 16.",
    ),
]
