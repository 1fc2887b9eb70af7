"""Calls with OpenAI's client: `python examples/call_openai.py [URL]`, in the repository's folder."""

import base64
import sys
from pathlib import Path

from openai import BadRequestError, OpenAI

URL = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"


def message(data_url: str) -> dict[str, object]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url}}]}


star = base64.b64encode(Path("tests/assets/star.png").read_bytes()).decode()
messages = [message(f"data:image/png;base64,{star}")]

# `api_key` is an API token of the server, or any text if the server requires no login
with OpenAI(base_url=f"{URL}/v1", api_key="any") as client:
    model = client.models.list().data[0].id

    # One image
    print(client.chat.completions.create(model=model, messages=messages).choices[0].message.content)

    # As a stream. By default (beam search) the caption arrives at once; with a temperature, word by word
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
        print(chunk.choices[0].delta.content or "", end="")
    print()

    # An error names the field
    try:
        client.chat.completions.create(model=model, messages=[message("data:image/png;base64,AAAA")])
    except BadRequestError as error:
        print(error.message)
