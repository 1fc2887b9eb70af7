"""The engine process: it alone has the model, and captions for the web workers that connect to its Unix socket.

`python -m flaskapp.captioner.engine_server`, with the listening socket as its standard input. It ends at SIGUSR1, and
by itself when its model makes no step for far longer than it ever took: the host process starts another.
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

BAD_SETTING = 78  # exit status, as EX_CONFIG of sysexits.h: another start would end the same way
PULSE = 1.0  # seconds between two looks whether the model makes progress
HANG = 30.0  # seconds without a look, as when an operation never gives back Python's lock, after which the process ends
POLL = 0.1  # seconds between two looks whether to stop
PATIENCE = 600.0  # seconds that a web worker may leave a message unfinished
MOST_PIXELS = 3 << 30  # bytes of an image; the web workers' MAX_MEGAPIXELS is less


class EngineServer(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Answers what comes to a listening Unix socket by a captioner, a thread for each connection."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, captioner: Captioner) -> None:
        super().__init__(listener.getsockname(), _Conversation)
        self.socket = listener
        self.captioner = captioner

    def fileno(self) -> int:
        """What `serve_forever` waits for."""
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection."""
        connection, address = self.socket.accept()
        connection.settimeout(PATIENCE)
        return connection, address

    def close_request(self, request: Any) -> None:
        """The answer is sent."""
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A web worker that ends, or does not keep to the protocol, is no matter of the others."""
        error = sys.exception()
        if not isinstance(error, OSError | wire.Closed):
            log.exception("A web worker's request failed")


class _Conversation(socketserver.BaseRequestHandler):
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
        """Send the text as it grows, from this thread: the model's must not wait for a web worker that reads slowly."""
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
        """Asked for once there is room: the web worker decodes no image of a request that is refused."""
        wire.send(self.request, {"go": True})
        for _ in range(number):
            try:
                yield wire.receive_image(self.request, MOST_PIXELS)
            except (wire.Closed, OSError) as error:
                raise ClientLeft("the client disconnected") from error

    def _has_left(self) -> bool:
        """Whether the connection has ended, after what may still be on its way."""
        look = select.poll()
        look.register(self.request, select.POLLIN)
        try:
            return bool(look.poll(0)) and self.request.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True


def status(captioner: Captioner) -> dict[str, Any]:
    """What web workers say of the model."""
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
    """End the process, with the traces of its threads, once the model stands still or nothing runs at all.

    The timer is C code of `faulthandler`: it needs no lock of Python's. Also end it if its parent is not `host`.
    """
    while True:
        faulthandler.dump_traceback_later(HANG, exit=True)
        if os.getppid() != host:
            log.error("The process that keeps this one died: this one stops")
            os.kill(os.getpid(), signal.SIGUSR1)
            return
        if captioner.is_stuck:
            log.critical("The model makes no progress: this process ends, and another will load it")
            faulthandler.dump_traceback_later(0.01, exit=True)
        time.sleep(PULSE)


def freeze() -> None:
    """Exempt all objects of torch and transformers from garbage collection, which takes 0.3 s of a core for them."""
    gc.collect()
    gc.freeze()


def run(listener: socket.socket, captioner: Captioner, identity: Identity, host: int) -> None:
    """Serve until SIGUSR1, as this user. Raises InvalidSetting for a device or a precision that is not here."""
    server = EngineServer(listener, captioner)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()  # it waits for `serve_forever`, which this thread is in

    signal.signal(signal.SIGUSR1, stop)
    captioner.check_device()
    threading.Thread(target=watch, args=[captioner, host], name="watch", daemon=True).start()
    if not identity.is_ours:
        with suppress(CaptionerUnavailable):  # the log says why
            captioner.load()  # as gunicorn's master imports the application: the user may not be able to read the code
        identity.take()
    captioner.after_load = freeze
    captioner.load_in_background()
    server.serve_forever(POLL)
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
        metrics.current.set_waiting(0, None)  # of an engine process before this one, something else may be there
        with socket.socket(fileno=sys.stdin.fileno()) as listener:
            run(listener, captioner, Identity.parse(identity), int(host))
        logging.shutdown()
        os._exit(0)  # the interpreter would take another second to free what torch and transformers have


if __name__ == "__main__":
    main()
