"""Where a request ends, told from its bytes as they come. What they mean is for gunicorn's own parser to say.

References: RFC 9112, sections 6 (the length of a body) and 7.1 (chunks).
"""

import re
from http import HTTPStatus

HEAD_LIMIT = 2**16  # bytes of a request line and its headers together
LINE_LIMIT = 256  # bytes of the line that says how long a chunk is

END = b"\r\n\r\n"
# All in lower case: so is what they are looked for in.
LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([^\r]*)")
CODING = b"\r\ntransfer-encoding"
CREDENTIALS = b"\r\nauthorization:"
# What is read without a wait for the database or for a client that takes megabytes slowly.
AT_HAND = re.compile(
    rb"(?:get|head) /(?:items|restric_items|query_items|text_model|livez|readyz|healthz?|v2/health|metrics)?[/? ]"
)
EXPECTS = re.compile(rb"[^\r]* http/1\.1\r\n(.*\r\n)?expect:[ \t]*100-continue[ \t]*\r\n", re.DOTALL)
NUMBER = re.compile(rb"[0-9]{1,18}[ \t]*")
CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")


class Refused(Exception):
    """The bytes cannot become a request: `status` says why, 400 or 431."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class Incoming:
    """The bytes of one connection, from the beginning of a request on.

    A body beyond `max_body` bytes is not waited for: such a request counts as complete with what is there (`is_cut`),
    for the application to refuse. Nothing can follow it.
    """

    def __init__(self, max_body: int, data: bytes = b"") -> None:
        self.data = bytearray()
        self.end: int | None = None  # of the request in the data, once it is complete
        self.is_cut = False
        self.is_chunked = False
        self.may_wait = False  # its answer, for the model or the database; else it comes at once
        self.expects_continue = False  # the client waits for a word before it sends the body
        self._max_body = max_body
        self._body: int | None = None  # where it begins, once the head is complete
        self._length = 0  # of a body that is not chunked
        self._chunk = 0  # where the line begins that says how long the next chunk is
        self._payload = 0  # bytes in the chunks before it
        if data:
            self.feed(data)

    @property
    def line(self) -> str:
        """Method and path, for a log: without the query, and quoted, so that it stays one line."""
        return repr(bytes(self.data[:LINE_LIMIT]).partition(b"\r\n")[0].partition(b"?")[0].decode("latin-1"))

    @property
    def body(self) -> memoryview:
        """Of a complete request that is not chunked."""
        return memoryview(self.data)[self._body : self.end]

    def feed(self, data: bytes) -> None:
        """Add what came. Raises Refused."""
        searched = max(0, len(self.data) - len(END))
        self.data += data
        if self._body is None:
            self._read_head(searched)
        if self._body is None or self.end is not None:
            return
        if self.is_chunked:
            self._follow_chunks()
        elif self._length > self._max_body:
            self._cut()
        elif len(self.data) >= self._body + self._length:
            self.end = self._body + self._length

    def following(self) -> "Incoming":
        """What came after this request: the beginning of the next one, of a client that does not wait for answers."""
        return Incoming(self._max_body, bytes(self.data[self.end :]))

    def _read_head(self, searched: int) -> None:
        end = self.data.find(END, searched)
        if max(end, len(self.data) if end < 0 else 0) > HEAD_LIMIT:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end < 0:
            return
        head = bytes(self.data[: end + 2]).lower()
        self._body = self._chunk = end + len(END)
        self.expects_continue = EXPECTS.match(head) is not None
        lengths, self.is_chunked = LENGTH.findall(head), CODING in head
        # Which of two lengths to believe, or how to read a strange one, is how requests are smuggled.
        if len(lengths) + head.count(CODING) > 1 or not all(NUMBER.fullmatch(length) for length in lengths):
            raise Refused(HTTPStatus.BAD_REQUEST)
        if lengths:
            self._length = int(lengths[0])
        has_body = self.is_chunked or self._length > 0
        self.may_wait = has_body or CREDENTIALS in head or AT_HAND.match(head) is None

    def _follow_chunks(self) -> None:
        while self.end is None:
            line_end = self.data.find(b"\r\n", self._chunk, self._chunk + LINE_LIMIT)
            if line_end < 0:
                if len(self.data) >= self._chunk + LINE_LIMIT:
                    raise Refused(HTTPStatus.BAD_REQUEST)
                return
            size = bytes(self.data[self._chunk : line_end]).partition(b";")[0].strip()
            if not CHUNK_SIZE.fullmatch(size):
                raise Refused(HTTPStatus.BAD_REQUEST)
            if int(size, 16) == 0:
                self._read_trailers(line_end)
                return
            if not self._skip_chunk(line_end + 2, int(size, 16)):
                return

    def _skip_chunk(self, start: int, size: int) -> bool:
        """Whether all of it is there."""
        if self._payload + min(size, len(self.data) - start) > self._max_body:
            self._cut()
        if len(self.data) < start + size + 2:
            return False
        self._payload += size
        self._chunk = start + size + 2
        around = self._chunk - (self._body or 0) - self._payload
        if around > max(HEAD_LIMIT, self._payload):  # bytes that cost work and memory, and are nobody's data
            raise Refused(HTTPStatus.BAD_REQUEST)
        return True

    def _read_trailers(self, line_end: int) -> None:
        end = self.data.find(END, line_end)
        if end >= 0:
            self.end = end + len(END)
        elif len(self.data) - line_end > HEAD_LIMIT:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _cut(self) -> None:
        self.end = len(self.data)
        self.is_cut = True
