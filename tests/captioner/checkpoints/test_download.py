"""Downloads from a stub of the hub on this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from flaskapp.captioner.checkpoints.hub import DEFAULT_MODEL, DEFAULT_REVISION, EMBEDDED
from tests.captioner.stub_hub import Refusal, StubHub
from tests.captioner.tiny import make_model, small_vit

FIND = """
import json, logging, sys
logging.basicConfig(level=logging.INFO)
from flaskapp.captioner.checkpoints import hub
found = hub.find(json.loads(sys.argv[1]), None)
print(found.name, *sorted(file.name for file in found.folder.iterdir()))
"""
LOAD = """
import torch
from flaskapp.captioner.checkpoints.load import load
load(found, torch.float32)
"""
SNAPSHOT = Path("hub", "models--nlpconnect--vit-gpt2-image-captioning", "snapshots", DEFAULT_REVISION)


def find(
    url: str, cache: Path, model: str | None = None, *, and_then: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Find a model in a new process, because the hub's library reads its variables at import."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIND + and_then, json.dumps(model)],
        env=environment | {"HF_ENDPOINT": url, "HF_HOME": str(cache)} | variables,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def shard(folder: Path, *, pickled: bool = False) -> list[str]:
    """Replace a repository's weights with shards and their index. Return the shards' names."""
    (folder / "pytorch_model.bin").unlink()
    model = make_model(small_vit())
    model.save_pretrained(folder / "sharded", max_shard_size="40KB")
    for file in (folder / "sharded").glob("model*"):
        file.rename(folder / file.name)
    shutil.rmtree(folder / "sharded")
    if pickled:
        pickle_shards(folder)
    kind = "pytorch_model-*.bin" if pickled else "model-*.safetensors"
    names = sorted(file.name for file in folder.glob(kind))
    assert len(names) > 2
    return names


def pickle_shards(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    names = {name: name.replace("model-", "pytorch_model-").replace("safetensors", "bin")
             for name in set(index["weight_map"].values())}  # fmt: skip
    for old, new in names.items():
        torch.save(load_file(folder / old), folder / new)
        (folder / old).unlink()
    index["weight_map"] = {weight: names[name] for weight, name in index["weight_map"].items()}
    (folder / "model.safetensors.index.json").unlink()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("model", [None, DEFAULT_MODEL])
def test_a_downloaded_model_is_found_in_the_cache_without_the_hub(
    hub: StubHub, tmp_path: Path, model: str | None
) -> None:
    first = find(hub.url, tmp_path / "cache", model, and_then=LOAD)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(DEFAULT_MODEL)
    assert "README.md" not in hub.paths
    asked = len(hub.asked)
    hub.close()
    again = find(hub.url, tmp_path / "cache", model)
    assert again.stdout == first.stdout, again.stderr
    assert len(hub.asked) == asked


def test_a_download_shows_its_progress(hub: StubHub, tmp_path: Path) -> None:
    log = find(hub.url, tmp_path / "cache").stderr
    assert f"INFO:flaskapp.captioner.checkpoints.download:Downloading {DEFAULT_MODEL}" in log
    assert "100%" in log


def test_a_hub_that_does_not_answer_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections without answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with ThreadPoolExecutor() as pool:  # both wait for their timeout at the same time
            asked = [pool.submit(find, url, tmp_path / "cache", *name) for name in ((), (DEFAULT_MODEL,))]
            fallback, named = (each.result() for each in asked)
    assert fallback.stdout.startswith(EMBEDDED), fallback.stderr
    assert named.returncode != 0
    assert "HubUnreachable" in named.stderr


def test_the_files_of_other_tokenizers_are_downloaded(hub: StubHub, repository: Path, tmp_path: Path) -> None:
    others = ["spiece.model", "vocab.tiktoken", "chat_template.jinja"]
    for name in others:
        (repository / name).write_text("{}")
    for name in ("modeling.py", "cat.jpg", "flax_model.msgpack"):
        (repository / name).write_text("not needed")
    (repository / "onnx").mkdir()
    (repository / "onnx" / "config.json").write_text("not needed")
    found = find(hub.url, tmp_path / "cache")
    assert set(others) <= set(found.stdout.split()), found.stderr
    assert not {"modeling.py", "cat.jpg", "flax_model.msgpack", "onnx", "onnx/config.json"} & set(hub.paths)


def test_safetensors_are_preferred_to_pickled_weights(hub: StubHub, repository: Path, tmp_path: Path) -> None:
    make_model(small_vit()).save_pretrained(repository)
    found = find(hub.url, tmp_path / "cache")
    assert "model.safetensors" in found.stdout, found.stderr
    assert "pytorch_model.bin" not in hub.paths


@pytest.mark.parametrize("pickled", [False, True])
def test_shards_are_downloaded_and_an_incomplete_snapshot_is_completed(
    hub: StubHub, repository: Path, tmp_path: Path, pickled: bool
) -> None:
    shards = shard(repository, pickled=pickled)
    first = find(hub.url, tmp_path / "cache")
    assert set(shards) <= set(first.stdout.split()), first.stderr

    (tmp_path / "cache" / SNAPSHOT / shards[1]).resolve().unlink()
    (tmp_path / "cache" / SNAPSHOT / shards[1]).unlink()
    offline = find(hub.url, tmp_path / "cache", HF_HUB_OFFLINE="1")
    assert offline.stdout.startswith(EMBEDDED)
    assert f"incomplete: {shards[1]} is missing" in offline.stderr

    hub.asked.clear()
    again = find(hub.url, tmp_path / "cache", and_then=LOAD)
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    assert hub.paths == [shards[1]]


def test_an_older_library_s_cache_without_the_tokenizer_is_completed(hub: StubHub, tmp_path: Path) -> None:
    first = find(hub.url, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache" / SNAPSHOT.parents[1] / "trees")
    (tmp_path / "cache" / SNAPSHOT / "vocab.json").unlink()
    again = find(hub.url, tmp_path / "cache")
    assert again.stdout == first.stdout, again.stderr


def test_a_shard_missing_on_the_hub_is_named(hub: StubHub, repository: Path, tmp_path: Path) -> None:
    absent = shard(repository)[0]
    (repository / absent).unlink()
    found = find(hub.url, tmp_path / "cache")
    assert "BrokenRepository" in found.stderr
    assert absent in found.stderr


@pytest.mark.parametrize("question", ["info", "tree", "head", "file"])
def test_a_temporary_refusal_is_retried(hub: StubHub, tmp_path: Path, question: str) -> None:
    hub.refusals[question].extend([Refusal(429), Refusal(503, retry_after="1")])
    found = find(hub.url, tmp_path / "cache")
    assert found.stdout.startswith(DEFAULT_MODEL), found.stderr
    assert "The hub answered 429" in found.stderr
    assert "The hub answered 503" in found.stderr


def test_a_short_retry_after_is_waited_for_and_a_long_one_is_not(hub: StubHub, tmp_path: Path) -> None:
    hub.refusals["info"].append(Refusal(429, retry_after="4"))
    found = find(hub.url, tmp_path / "cache")
    assert "retry in 4.0 seconds" in found.stderr
    hub.refusals["info"].append(Refusal(429, retry_after="100"))
    named = find(hub.url, tmp_path / "empty")
    assert "ModelUnavailable" in named.stderr
    assert [kind for kind, _ in hub.asked].count("info") == 3, (
        "the server retries after a hundred seconds, not the download"
    )


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_hub_that_refuses_the_default_model_does_not_lead_to_the_substitute(
    hub: StubHub, tmp_path: Path, status: int
) -> None:
    hub.down = Refusal(status)
    found = find(hub.url, tmp_path / "cache")
    assert found.returncode != 0
    assert found.stdout == ""
    assert "ModelUnavailable" in found.stderr
    assert str(status) in found.stderr


def test_a_download_resumes_after_a_reset_connection_and_a_refusal(
    hub: StubHub, repository: Path, tmp_path: Path
) -> None:
    (repository / "pytorch_model.bin").write_bytes(
        bytes(50_000_000)
    )  # half is sent before the reset; the library writes 10 MiB at a time
    hub.cuts = 1
    hub.refuse_ranges.append(Refusal(503))
    found = find(hub.url, tmp_path / "cache")
    assert found.stdout.startswith(DEFAULT_MODEL), found.stderr
    first, second = hub.ranges
    assert first == second
    assert first in (f"bytes={10 << 20}-", f"bytes={20 << 20}-")


def test_partial_files_of_killed_downloads_are_removed_and_of_running_ones_kept(hub: StubHub, tmp_path: Path) -> None:
    blobs = tmp_path / "cache" / SNAPSHOT.parents[1] / "blobs"
    blobs.mkdir(parents=True)
    left, running = blobs / "aaaa.12345678.incomplete", blobs / "bbbb.12345678.incomplete"
    left.touch()
    running.touch()
    locks = tmp_path / "cache" / "hub" / ".locks" / SNAPSHOT.parts[1]
    locks.mkdir(parents=True)
    with FileLock(locks / "bbbb.lock"):
        found = find(hub.url, tmp_path / "cache")
    assert found.stdout.startswith(DEFAULT_MODEL), found.stderr
    assert not left.exists()
    assert running.exists()


def test_a_named_model_from_a_branch_is_downloaded_once(
    start_hub: Callable[..., StubHub], repository: Path, tmp_path: Path
) -> None:
    hub = start_hub(repository, model="someone/else")
    for _ in range(2):
        found = find(hub.url, tmp_path / "cache", "someone/else")
        assert found.stdout.startswith("someone/else"), found.stderr
        hub.close()
