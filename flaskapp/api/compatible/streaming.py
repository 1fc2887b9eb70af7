"""Answers that are sent while the caption is being made, for OpenAI's and Ollama's clients."""

import logging
import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue

from flask import Response

from flaskapp import metrics
from flaskapp.api.compatible.chat import Answer, Question, answer_of, prepare_question
from flaskapp.api.compatible.stop import sure
from flaskapp.api.errors import validation_errors
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.errors import CaptionFailed, FlaskappError

log = logging.getLogger(__name__)


class Stream:
    """What `answer` says, in parts: the words as soon as they are sure, and then the Answer.

    Words come early where one image has one caption without a search; else all come at once. What goes wrong before
    the first part is raised here, as by `answer`; what goes wrong later is the last part.
    """

    def __init__(self, asked: Question, wanted: GenerationSettings) -> None:
        self._is_closed = threading.Event()
        self._parts: SimpleQueue[str | Answer | Exception] = SimpleQueue()
        run = prepare_question(asked, wanted, self._is_closed.is_set)

        def work() -> None:
            try:
                with validation_errors(location="json"):
                    self._parts.put(answer_of(asked, run(on_text=self._parts.put)))
            except Exception as error:
                self._parts.put(error)

        try:
            threading.Thread(target=work, name="stream", daemon=True).start()
        except RuntimeError:  # the system has no more threads: all words come at once
            work()
        self._stops, self._prompt = asked.stops, asked.prompt if captioner.takes_prompt else ""
        self._first = self._parts.get()
        if isinstance(self._first, Exception):
            raise self._first

    def __iter__(self) -> Iterator[str | Answer | Exception]:
        said, part = "", self._first
        while True:
            text = self._text(part)
            if text is not None:
                if not text.startswith(said):  # a tokenizer that writes words otherwise once it knows the next ones
                    yield CaptionFailed("the words that were sent are not those of the caption")
                    return
                if text != said:
                    yield text[len(said) :]
                    said = text
            if not isinstance(part, str):
                yield part
                return
            part = self._parts.get()

    def _text(self, part: str | Answer | Exception) -> str | None:
        """The words that are sure: not those that may begin a stop sequence."""
        if isinstance(part, Answer):
            return part.text()
        return sure(part, self._stops, self._prompt) if isinstance(part, str) else None

    def close(self) -> None:
        """Give the work up, if it is not done."""
        self._is_closed.set()

    def response(self, lines: Iterable[str], mimetype: str) -> Response:
        """An answer of lines that are made from the parts, each sent as it comes: nginx would hold it back."""
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = Response(lines, mimetype=mimetype, headers=headers)
        response.call_on_close(self.close)
        return response


def in_words(error: Exception) -> str:
    """What a streamed answer says of an error that comes after its head."""
    if isinstance(error, FlaskappError):
        metrics.current.count_error(error)
        return str(error)
    log.error("A streamed answer failed", exc_info=error)
    return "the captioner failed"
