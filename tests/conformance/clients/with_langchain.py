"""LangChain: a tuned model as a chat model, with tools, structured, streamed, and by the Responses API."""

import os
from importlib.metadata import version
from typing import Literal

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel
from steps import BASE, CODES, EXAMPLES, step

MODEL = os.environ["FINE_TUNED_MODEL"]


class Ticket(BaseModel):
    """What the customer wants."""

    code: Literal["CARD-LOST", "PIN-HELP"]


def main() -> None:
    print(version("langchain-openai"))
    system, user, trained = (message["content"] for message in EXAMPLES[0])
    messages = [SystemMessage(system), HumanMessage(user)]
    llm = ChatOpenAI(model=MODEL, temperature=0, max_tokens=12)

    answer = llm.invoke(messages)
    assert answer.content == trained
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["model_name"] == MODEL
    assert answer.response_metadata["finish_reason"] == "stop"
    step("ChatOpenAI.invoke: what was trained")

    chunks = list(llm.stream(messages, stream_usage=True))
    assert "".join(chunk.content for chunk in chunks) == trained
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert usage[0]["total_tokens"] == answer.usage_metadata["total_tokens"]
    questions = [[SystemMessage(m[0]["content"]), HumanMessage(m[1]["content"])] for m in EXAMPLES]
    assert {a.content for a in llm.batch(questions)} == CODES
    step("ChatOpenAI.stream with usage, batch")

    roomy = ChatOpenAI(model=MODEL, temperature=0, max_tokens=64)
    with_tool = roomy.bind_tools([Ticket], tool_choice="Ticket", strict=True)
    (call,) = with_tool.invoke(messages).tool_calls
    assert call["name"] == "Ticket"
    assert Ticket(**call["args"]).code in CODES
    step("bind_tools")

    for method in ("json_schema", "function_calling"):
        structured = roomy.with_structured_output(Ticket, method=method, strict=True)
        assert isinstance(structured.invoke(messages), Ticket)
    step("with_structured_output by schema and by function")

    by_responses = ChatOpenAI(model=MODEL, temperature=0, max_tokens=16, use_responses_api=True)
    assert by_responses.invoke(messages).text == trained
    assert "".join(chunk.text for chunk in by_responses.stream(messages)) == trained
    step("ChatOpenAI with use_responses_api, plain and streamed")

    completions = OpenAI(model=BASE, temperature=0, max_tokens=4)
    assert completions.invoke("Hello") == "".join(completions.stream("Hello"))
    step("OpenAI, of text")


if __name__ == "__main__":
    main()
