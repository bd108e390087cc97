"""The journey without training, asked by OpenAI's own SDK."""

import pytest
from openai import NotFoundError, OpenAI

LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


def test_file(client: OpenAI) -> None:
    """A file comes back as it was sent, is listed, and is gone when deleted."""
    file = client.files.create(file=("Grüße.jsonl", LINE * 12), purpose="fine-tune")
    assert (file.filename, file.bytes, file.status) == ("Grüße.jsonl", len(LINE) * 12, "processed")
    assert client.files.retrieve(file.id) == file
    assert file.id in [listed.id for listed in client.files.list(purpose="fine-tune")]
    assert client.files.content(file.id).read() == LINE * 12
    assert client.files.delete(file.id).deleted
    with pytest.raises(NotFoundError, match=f"No such File object: {file.id}"):
        client.files.retrieve(file.id)
