"""The engine process: has the model, and captions images for the web workers that connect to its Unix socket.

Run `python -m flaskapp.captioner.engine_server` with the listening socket as standard input. The process ends at
SIGUSR1, or when its model has stalled: the engine host then starts another.
"""

import faulthandler
import gc
import logging
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from flaskapp import metrics
from flaskapp.captioner import wire
from flaskapp.captioner.service import Captioner
from flaskapp.errors import CaptionerUnavailable, ClientLeft, FlaskappError
from flaskapp.serving.privileges import Identity
from flaskapp.sized_iterable import SizedIterable
from flaskapp.timings import Timings

log = logging.getLogger(__name__)

BAD_SETTING = 78  # exit status, as EX_CONFIG of sysexits.h: a restart would fail again
WATCH_INTERVAL = 1.0  # seconds between checks for a stalled model
HANG_TIMEOUT = 30.0  # seconds without a check, after which the process ends: an operation may never release the GIL
POLL_INTERVAL = 0.1  # seconds between checks for a shutdown
MESSAGE_TIMEOUT = 600.0  # seconds for a web worker to complete a message
MAX_IMAGE_BYTES = 3 << 30  # the web workers' MAX_MEGAPIXELS allows less


class EngineServer(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Serves a captioner at a listening Unix socket, with a thread for each connection."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, captioner: Captioner) -> None:
        super().__init__(listener.getsockname(), _RequestHandler)
        self.socket = listener
        self.captioner = captioner

    def fileno(self) -> int:
        """Return the listening socket's descriptor, for `serve_forever`."""
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = self.socket.accept()
        connection.settimeout(MESSAGE_TIMEOUT)
        return connection, address

    def close_request(self, request: Any) -> None:
        """Close the connection after the answer."""
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error, unless the connection broke. Other connections continue."""
        error = sys.exception()
        if not isinstance(error, OSError | wire.Closed):
            log.exception("A web worker's request failed")


class _RequestHandler(socketserver.BaseRequestHandler):
    """One request of a web worker."""

    server: EngineServer
    request: socket.socket

    def handle(self) -> None:
        head, _ = wire.receive(self.request)
        try:
            wire.send(self.request, self._answer(head))
        except FlaskappError as error:
            wire.send(self.request, wire.encode_error(error))
        except (OSError, wire.Closed):
            raise
        except Exception:
            log.exception("A request failed")
            wire.send(self.request, wire.encode_error(CaptionerUnavailable("the captioner failed")))

    def _answer(self, head: wire.Message) -> wire.Message:
        match head["do"]:
            case "describe":
                return self._stream(head) if head["stream"] else self._describe(head)
            case "resolve":
                generation = self.server.captioner.resolve(wire.decode_settings(head["settings"]))
                return {"generation": wire.encode_generation(generation)}
            case "status":
                return status(self.server.captioner)
        raise ValueError("unknown request of a web worker")

    def _stream(self, head: wire.Message) -> wire.Message:
        """Send texts of unfinished captions from this thread: a slow web worker must not block the model's thread."""
        texts: SimpleQueue[str | Future[wire.Message]] = SimpleQueue()

        def describe() -> None:
            answer: Future[wire.Message] = Future()
            try:
                answer.set_result(self._describe(head, texts.put))
            except Exception as error:
                answer.set_exception(error)
            texts.put(answer)

        threading.Thread(target=describe, daemon=True).start()
        while isinstance(text := texts.get(), str):
            wire.send(self.request, {"text": text})
        return text.result()

    def _describe(self, head: wire.Message, on_text: Callable[[str], object] | None = None) -> wire.Message:
        timings = Timings()
        captions = self.server.captioner.describe(
            SizedIterable(head["images"], lambda: self._images(head["images"])),
            wire.decode_settings(head["settings"]),
            self._has_left,
            deadline=head["deadline"],
            timings=timings,
            on_text=on_text,
            digests=head["digests"],
        )
        return {
            "captions": wire.encode_captions(captions),
            "seconds": timings.seconds,
            "batch_size": timings.batch_size,
            "model": status(self.server.captioner),
        }

    def _images(self, number: int) -> Iterator[np.ndarray]:
        """Ask the web worker for its images once the request is admitted, and yield them.

        The web worker decodes no image of a rejected request.
        """
        wire.send(self.request, {"go": True})
        for _ in range(number):
            try:
                yield wire.receive_image(self.request, MAX_IMAGE_BYTES)
            except (wire.Closed, OSError) as error:
                raise ClientLeft("the client disconnected") from error

    def _has_left(self) -> bool:
        """Whether the web worker has closed the connection, and all data before that was read."""
        poll = select.poll()
        poll.register(self.request, select.POLLIN)
        try:
            return bool(poll.poll(0)) and self.request.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True


def status(captioner: Captioner) -> dict[str, Any]:
    """Return the status that web workers report: see `remote_engine.Status`."""
    return {
        "problem": captioner.problem,
        "name": captioner.name,
        "version": captioner.version,
        "note": captioner.note,
        "input_side": captioner.input_side,
        "decoder": captioner.decoder,
        "decoder_reason": captioner.decoder_reason,
        "precision": captioner.precision,
        "precision_reason": captioner.precision_reason,
        "takes_prompt": captioner.takes_prompt,
        "defaults": wire.encode_generation(captioner.defaults),
    }


def watch(captioner: Captioner, host: int) -> None:
    """End the process, with the traces of its threads, if the model stalls or this thread itself cannot run.

    `faulthandler`'s timer is C code, which does not need the GIL. Also end the process if its parent is not `host`.
    """
    while True:
        faulthandler.dump_traceback_later(HANG_TIMEOUT, exit=True)
        if os.getppid() != host:
            log.error("The engine host died: the engine process stops")
            os.kill(os.getpid(), signal.SIGUSR1)
            return
        if captioner.is_stuck:
            log.critical("The model makes no progress: the engine process ends and is started again")
            faulthandler.dump_traceback_later(0.01, exit=True)
        time.sleep(WATCH_INTERVAL)


def freeze() -> None:
    """Exempt all existing objects from garbage collection: those of torch and transformers take 0.3 s of a core."""
    gc.collect()
    gc.freeze()


def run(listener: socket.socket, captioner: Captioner, identity: Identity, host: int) -> None:
    """Serve until SIGUSR1, as user `identity`. Raise InvalidSetting for a device or precision that is not available."""
    server = EngineServer(listener, captioner)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()  # in a thread: it waits for `serve_forever`

    signal.signal(signal.SIGUSR1, stop)
    captioner.check_device()
    threading.Thread(target=watch, args=[captioner, host], name="watch", daemon=True).start()
    if not identity.is_ours:
        with suppress(CaptionerUnavailable):  # the log says why
            captioner.load()  # before the change of user: the new user may not be able to read the code
        identity.take()
    captioner.after_load = freeze
    captioner.load_in_background()
    server.serve_forever(POLL_INTERVAL)
    captioner.close()


def main() -> None:
    """`python -m flaskapp.captioner.engine_server HOST METRICS_FOLDER PROCESS IDENTITY DEVICE`; see `metrics.share`."""
    from flaskapp import create_app, settings
    from flaskapp.captioner import captioner
    from flaskapp.serving.json_log import configure

    host, folder, process, identity, device = sys.argv[1:]
    with settings.exiting_on_error(BAD_SETTING):
        configure(settings.read_one("LOG_FORMAT"))
        create_app({"CAPTIONER_DEVICE": device})
        metrics.share(Path(folder) if folder else None, process)
        metrics.current.set_waiting(0, None)  # an earlier engine process may have left other values
        with socket.socket(fileno=sys.stdin.fileno()) as listener:
            run(listener, captioner, Identity.parse(identity), int(host))
        logging.shutdown()
        os._exit(0)  # skips a second in which the interpreter frees torch and transformers


if __name__ == "__main__":
    main()
