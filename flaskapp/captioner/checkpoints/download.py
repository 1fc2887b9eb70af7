"""Downloads a model in a process of its own: `python -m flaskapp.captioner.checkpoints.download MODEL REVISION`.

A process can be killed at any time, even while a thread hangs in a name look-up or a read. It also keeps hf_xet's
threads out of a server that forks later. The process ends when its standard input is closed, so it never outlives the
process that started it.

It writes JSON lines to its standard output: log records, then one `Result`. Progress bars go to standard error.
"""

import glob
import json
import logging
import os
import sys
import threading
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import HfApi, get_session, hf_hub_download, set_client_factory, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.file_download import repo_folder_name

from flaskapp.captioner.checkpoints.files import INDEX, BrokenRepository, choose_others, choose_weights, read_shards
from flaskapp.captioner.checkpoints.hub_client import HubState, Refused, RetryingClient

log = logging.getLogger("flaskapp.captioner.checkpoints.download")  # the module's name, also when it runs as `__main__`

ANSWER_TIMEOUT = 8  # seconds until the first answer of the hub
METADATA_RETRY_TIME = 5  # seconds of retries before the download: the server's start waits for it
FILE_RETRY_TIME = 120  # seconds of retries for one file: its partial download would be lost

UNREACHABLE = (httpx2.ConnectError, httpx2.TimeoutException, httpx2.ProxyError, OfflineModeIsEnabled)
IMPOSSIBLE = (BrokenRepository, HFValidationError)  # HFValidationError: the model id is invalid

_output = threading.Lock()


@dataclass(frozen=True)
class Result:
    """The outcome of a download. `detail` is the snapshot's folder after success, else the reason.

    - there: the model is complete in the cache
    - unreachable: the hub did not answer
    - unavailable: the hub answered, but did not offer the model; or the download broke off
    - impossible: another try cannot succeed
    """

    outcome: Literal["there", "unreachable", "unavailable", "impossible"]
    detail: str
    retry_after: float | None = None  # seconds, if the hub sent any


class _RecordHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _write({"logger": record.name, "level": record.levelno, "message": self.format(record)})


def _write(event: object) -> None:
    with _output:
        print(json.dumps(event), flush=True)


def _finish(result: Result) -> None:
    """Report the result and exit immediately, without waiting for threads that still download a file."""
    _write(asdict(result))
    os._exit(0)


def main(model: str, revision: str) -> None:
    logging.basicConfig(level=logging.WARNING, handlers=[_RecordHandler()])
    log.setLevel(logging.INFO)
    logging.getLogger("huggingface_hub").handlers.clear()
    logging.getLogger("huggingface_hub").propagate = True
    threading.Thread(target=_end_with_parent, daemon=True).start()
    hub = _use_retrying_client()
    threading.Thread(target=_expect_answer, args=[hub], daemon=True).start()
    try:
        folder = download(hub, model, revision)
    except Exception as error:
        _finish(_explain(error, hub.has_answered.is_set()))
    else:
        _finish(Result("there", folder))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _expect_answer(hub: HubState) -> None:
    if not hub.has_answered.wait(ANSWER_TIMEOUT):
        _finish(Result("unreachable", f"no answer in {ANSWER_TIMEOUT} seconds"))


def _use_retrying_client() -> HubState:
    hub = HubState(METADATA_RETRY_TIME)
    hooks = get_session().event_hooks  # keep the library's hooks
    set_client_factory(lambda: RetryingClient(hub, event_hooks=hooks, follow_redirects=True, timeout=None))
    return hub


def download(hub: HubState, model: str, revision: str) -> str:
    """Complete the model's snapshot in the cache, and return its folder.

    Raises BrokenRepository, Refused, and the errors of huggingface_hub and httpx2.
    """
    api = HfApi()
    api.model_info(model, revision=revision, timeout=ANSWER_TIMEOUT)
    files = api.list_repo_files(model, revision=revision)
    weights = choose_weights(files)
    hub.retry_time = FILE_RETRY_TIME
    remove_leftovers(model)
    wanted = [*choose_others(files), weights]
    if weights.endswith(INDEX):
        wanted += read_shards(Path(hf_hub_download(model, weights, revision=revision)))
        if absent := sorted(set(wanted) - set(files)):
            raise BrokenRepository(f"{weights} names files that the repository does not have: {', '.join(absent)}")
    log.info("Downloading %s at %s: %d files, unless they are in the cache", model, revision, len(wanted))
    return snapshot_download(model, revision=revision, allow_patterns=[glob.escape(name) for name in wanted])


def remove_leftovers(model: str) -> None:
    """Remove partial files of killed downloads: huggingface_hub never resumes them.

    A running download holds its file's lock.
    """
    folder = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model")
    for file in folder.glob("blobs/*.incomplete"):
        lock = Path(HF_HUB_CACHE) / ".locks" / folder.name / f"{file.name.partition('.')[0]}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                file.unlink(missing_ok=True)
        except Timeout:
            pass


def _explain(error: Exception, has_answered: bool) -> Result:
    cause: BaseException | None = error
    while cause is not None:  # huggingface_hub wraps some errors in LocalEntryNotFoundError
        if isinstance(cause, Refused):
            return Result("unavailable", str(cause), cause.retry_after)
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            return Result("unavailable", f"{status} {HTTPStatus(status).phrase}")
        if isinstance(cause, UNREACHABLE):
            outcome: Literal["unavailable", "unreachable"] = "unavailable" if has_answered else "unreachable"
            return Result(outcome, _describe(cause))
        cause = cause.__cause__
    return Result("impossible" if isinstance(error, IMPOSSIBLE) else "unavailable", _describe(error))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(*sys.argv[1:])
