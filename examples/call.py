"""Calls with requests: `python examples/call.py [URL]`, in the repository's folder."""

import json
import sys
from pathlib import Path

import requests

URL = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"
STAR = Path("tests/assets/star.png")
CIRCLE_AND_DIAMOND = Path("tests/assets/circle_and_diamond.png")


def files(*paths: Path) -> list[tuple[str, tuple[str, bytes]]]:
    """Return the files as form fields named `data`."""
    return [("data", (path.name, path.read_bytes())) for path in paths]


with requests.Session() as session:
    # One image
    answer = session.post(f"{URL}/caption/", files=files(STAR), timeout=60)
    answer.raise_for_status()
    print(answer.json()["caption"])

    # With generation settings
    config = {"config": json.dumps({"num_beams": 4, "num_return_sequences": 2})}
    answer = session.post(f"{URL}/caption/", files=files(STAR), data=config, timeout=60)
    answer.raise_for_status()
    print(answer.json()["results"])

    # A resized image
    answer = session.post(f"{URL}/cv_model/", params={"h": 28, "w": 40}, files=files(STAR), timeout=60)
    answer.raise_for_status()
    print(answer.headers["Content-Type"])

    # A job: submit it, follow its events until it has ended, read the results
    answer = session.post(f"{URL}/caption_jobs/", files=files(STAR, CIRCLE_AND_DIAMOND), timeout=60)
    answer.raise_for_status()
    job = URL + answer.headers["Location"]
    with session.get(f"{job}/events", stream=True, timeout=60) as events:
        for _ in events.iter_lines():
            pass
    print(session.get(f"{job}/results", params={"format": "csv"}, timeout=60).text, end="")

    # An error names the field
    answer = session.post(f"{URL}/caption/", files=files(STAR), data={"config": '{"num_beams": 0}'}, timeout=60)
    print(answer.json()["errors"])
