"""Streamed answers, for OpenAI's and Ollama's clients."""

import logging
import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue

from flask import Response

from flaskapp import metrics
from flaskapp.api.compatible.chat import Answer, Question, answer_of, prepare_question
from flaskapp.api.compatible.stop import stable_prefix
from flaskapp.api.errors import validation_errors
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.errors import CaptionFailed, FlaskappError

log = logging.getLogger(__name__)


class Stream:
    """The parts of an answer: words as soon as they are final, then the Answer.

    One caption of one image without a beam search is streamed word by word; otherwise all words are one part. An error
    before the first part is raised by the constructor; a later error is the last part.
    """

    def __init__(self, question: Question, settings: GenerationSettings) -> None:
        self._is_closed = threading.Event()
        self._parts: SimpleQueue[str | Answer | Exception] = SimpleQueue()
        run = prepare_question(question, settings, self._is_closed.is_set)

        def work() -> None:
            try:
                with validation_errors(location="json"):
                    self._parts.put(answer_of(question, run(on_text=self._parts.put)))
            except Exception as error:
                self._parts.put(error)

        try:
            threading.Thread(target=work, name="stream", daemon=True).start()
        except RuntimeError:  # no more threads in the system: all words are one part
            work()
        self._stops, self._prompt = question.stops, question.prompt if captioner.takes_prompt else ""
        self._first = self._parts.get()
        if isinstance(self._first, Exception):
            raise self._first

    def __iter__(self) -> Iterator[str | Answer | Exception]:
        sent, part = "", self._first
        while True:
            text = self._text(part)
            if text is not None:
                if not text.startswith(sent):  # the tokenizer changed words when it decoded the next ones
                    yield CaptionFailed("the words that were sent are not those of the caption")
                    return
                if text != sent:
                    yield text[len(sent) :]
                    sent = text
            if not isinstance(part, str):
                yield part
                return
            part = self._parts.get()

    def _text(self, part: str | Answer | Exception) -> str | None:
        """Return the final words: without a possible start of a stop sequence."""
        if isinstance(part, Answer):
            return part.text()
        return stable_prefix(part, self._stops, self._prompt) if isinstance(part, str) else None

    def close(self) -> None:
        """Cancel the work, unless it is done."""
        self._is_closed.set()

    def response(self, lines: Iterable[str], mimetype: str) -> Response:
        """Return a response that sends each line at once, without buffering by nginx."""
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = Response(lines, mimetype=mimetype, headers=headers)
        response.call_on_close(self.close)
        return response


def error_text(error: Exception) -> str:
    """Return the text of an error that occurs after the headers were sent."""
    if isinstance(error, FlaskappError):
        metrics.current.count_error(error)
        return str(error)
    log.error("A streamed answer failed", exc_info=error)
    return "the captioner failed"
