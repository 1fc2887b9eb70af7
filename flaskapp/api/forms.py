"""Forms: Werkzeug's parsers, with errors for malformed bodies that Werkzeug would take for an empty form.

References: RFC 7578 (multipart/form-data), RFC 2046, section 5.1 (boundaries).
"""

import io
from collections.abc import Iterator
from typing import IO, Any, NoReturn
from urllib.parse import unquote_to_bytes

from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import BLANK_LINE_RE, Data, Event, Field, File, MultipartDecoder, NeedData, State

from flaskapp.errors import MalformedForm, OversizedForm, UnsupportedCoding

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
FORMS = (MULTIPART, URLENCODED)

CHUNK_SIZE = 2**16  # bytes
MAX_BOUNDARY_LINE = 2**10  # bytes, with the spaces that may follow a boundary
MAX_PART_HEADERS = 2**13  # bytes
IDENTITY_CODINGS = ("", "7bit", "8bit", "binary", "identity")
CHARSETS = {"": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "ascii": "utf-8"}
CHARSETS |= {"iso-8859-1": "latin-1", "latin-1": "latin-1", "latin1": "latin-1"}
BYTE_ORDER_MARK = "\ufeff"

Fields = MultiDict[str, str]
Files = MultiDict[str, FileStorage]


class FormParser(FormDataParser):
    """Raises MalformedForm, OversizedForm or UnsupportedCoding, with the part and the problem."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], Fields, Files]:
        if mimetype == MULTIPART:
            fields, files = self._read_parts(stream, _boundary(options or {}))
            return stream, self.cls(fields), self.cls(files)
        if mimetype == URLENCODED:
            stream = self._checked(stream.read())
        return super().parse(stream, mimetype, content_length, options)

    def _checked(self, body: bytes) -> IO[bytes]:
        """Return an urlencoded form to parse. Raise an error if it has too many fields or is not UTF-8."""
        if self.max_form_parts is not None and body.count(b"&") >= self.max_form_parts:
            raise OversizedForm(f"A form may have no more than {self.max_form_parts} fields.")
        try:
            unquote_to_bytes(body).decode()
        except UnicodeDecodeError:
            message = f"The form is not encoded in UTF-8. Send files with the content type {MULTIPART}."
            raise MalformedForm(message) from None
        return io.BytesIO(body.removeprefix(BYTE_ORDER_MARK.encode()))

    def _read_parts(self, stream: IO[bytes], boundary: bytes) -> tuple[list[Any], list[Any]]:
        """Return the fields and the files of a multipart form, as pairs of a name and a value."""
        decoder = Decoder(boundary)
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        content: IO[bytes] = io.BytesIO()
        for event in _events(decoder, stream):
            if isinstance(event, Field | File):
                self._check_number(decoder.parts)
                part, content = event, self._new_content(event)
            elif isinstance(event, Data):
                self._write(content, event.data, part)
                if not event.more_data:
                    _add(part, content, fields, files)
        _check_end(decoder)
        return fields, files

    def _check_number(self, parts: int) -> None:
        if self.max_form_parts is not None and parts > self.max_form_parts:
            raise OversizedForm(f"A form may have no more than {self.max_form_parts} parts.")

    def _new_content(self, part: Field | File) -> IO[bytes]:
        if isinstance(part, Field):
            return io.BytesIO()
        return self.stream_factory(
            total_content_length=None, content_type=part.headers.get("Content-Type"), filename=part.filename
        )

    def _write(self, content: IO[bytes], data: bytes, part: Field | File) -> None:
        """Append data to a part. Cut a text at `max_form_memory_size`: its field rejects a shorter one already."""
        if isinstance(part, Field) and self.max_form_memory_size is not None:
            data = data[: self.max_form_memory_size - content.tell()]
        content.write(data)


class Decoder(MultipartDecoder):
    """Counts the parts and checks their headers. Headers that are not UTF-8 are Latin-1, which old clients send."""

    def __init__(self, boundary: bytes) -> None:
        super().__init__(boundary)
        self.parts = 0  # parts whose headers are complete

    def next_event(self) -> Event:
        if self.state is not State.PART:
            return super().next_event()
        is_latin_1 = self._prepare_head()
        try:
            event = super().next_event()
        except ValueError:
            self._fail("has no Content-Disposition header", self.parts + 1)
        if isinstance(event, Field | File):
            self.parts += 1
            self._check_part(event, is_latin_1)
        return event

    def _prepare_head(self) -> bool:
        """Recode complete headers in the buffer from Latin-1 to UTF-8. Return whether they were Latin-1."""
        if self.buffer.startswith((b"\r\n", b"\n")):
            self._fail("has no headers", self.parts + 1)
        blank = BLANK_LINE_RE.search(self.buffer)
        end = blank.start() if blank else len(self.buffer)
        if end > MAX_PART_HEADERS:
            self._fail(f"has headers of more than {MAX_PART_HEADERS} bytes", self.parts + 1)
        head = bytes(self.buffer[:end])
        try:
            head.decode()
        except UnicodeDecodeError:
            if blank:
                self.buffer[:end] = head.decode("latin-1").encode()
            return True
        return False

    def _check_part(self, part: Field | File, is_latin_1: bool) -> None:
        if len(part.headers.getlist("Content-Disposition")) > 1:
            self._fail("has two Content-Disposition headers")
        if not part.name:
            self._fail("has no name")
        if is_latin_1 and not part.name.isascii():
            self._fail("has a name that is not encoded in UTF-8")
        for header in ("Content-Transfer-Encoding", "Content-Encoding"):
            coding = part.headers.get(header, "").lower()
            if coding not in IDENTITY_CODINGS:
                raise UnsupportedCoding(f"Part {self.parts} of the form has the {header} {coding}: send it as it is.")
        if isinstance(part, Field) and _charset(part) is None:
            self._fail("is text that is not encoded in UTF-8")

    def _fail(self, problem: str, part: int | None = None) -> NoReturn:
        raise MalformedForm(f"Part {part or self.parts} of the form {problem}.")


def _boundary(options: dict[str, str]) -> bytes:
    boundary = options.get("boundary", "")
    if not boundary:
        raise MalformedForm(f"The content type {MULTIPART} has no boundary. Let the HTTP client set it.")
    if not boundary.isascii():
        raise MalformedForm("The boundary of the form is not ASCII.")
    return boundary.encode()


def _events(decoder: Decoder, stream: IO[bytes]) -> Iterator[Event]:
    for chunk in _chunks(stream):
        decoder.receive_data(chunk)
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """Read a stream in chunks that never end within a boundary line.

    If a chunk ends between a boundary and the end of its line, as in `\\r\\n--boundary-`, MultipartDecoder of Werkzeug
    3.1.9 adds the `\\r` to the file before it, because `_last_partial_boundary_index` looks back only as far as a
    boundary is long. If spaces follow the boundary, it adds the whole line and the next part to the file.
    """
    held = b""
    while data := stream.read(CHUNK_SIZE):
        data = held + data
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > MAX_BOUNDARY_LINE:
            cut = len(data)
        held = data[cut:]
        if cut:
            yield data[:cut]
    if held:
        yield held


def _add(part: Field | File, content: IO[bytes], fields: list[Any], files: list[Any]) -> None:
    size = content.tell()
    content.seek(0)
    if isinstance(part, Field):
        # Keep bytes that are not UTF-8: the part may be a file without a file name. Text fields reject them.
        text = content.read().decode(_charset(part) or "utf-8", "surrogateescape")
        fields.append((part.name, text.removeprefix(BYTE_ORDER_MARK)))
    elif part.filename or size:  # otherwise the user chose no file in a browser's input
        files.append((part.name, FileStorage(content, part.filename, part.name, headers=part.headers)))


def _charset(part: Field) -> str | None:
    parameters = parse_options_header(part.headers.get("Content-Type", ""))[1]
    return CHARSETS.get(parameters.get("charset", "").lower())


def _check_end(decoder: Decoder) -> None:
    if decoder.state is State.PREAMBLE:
        raise MalformedForm("The body is no form: it does not contain the boundary of the content type.")
    if decoder.state is State.PART:
        raise MalformedForm(f"The form ends in the headers of part {decoder.parts + 1}, without its last boundary.")
    if decoder.state is not State.EPILOGUE:
        raise MalformedForm(f"The form ends in part {decoder.parts}, without its last boundary.")
