"""`flask --app wsgi caption`: captions for files and folders."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NamedTuple

import click
from flask import current_app
from flask.cli import with_appcontext
from tqdm import tqdm

from flaskapp.cli.captioners import Captioned, FileCaptioner, LocalCaptioner, RemoteCaptioner
from flaskapp.cli.generation_options import generation_options, given, settings_of
from flaskapp.cli.image_paths import image_paths
from flaskapp.cli.in_order import in_order
from flaskapp.cli.manifest import Manifest, NoManifest, Version
from flaskapp.cli.output import Output
from flaskapp.cli.terminal import printable, read_password
from flaskapp.client import Client, ClientError
from flaskapp.client.transport import split
from flaskapp.errors import FlaskappError

RETRIES = 5  # of a request to a server that is busy: there is time
INTERRUPTED = 130  # the exit code that shells expect


class Outcome(NamedTuple):
    """What became of a file: captions, made now or before, or the reason why there are none."""

    path: Path
    kind: str  # "captioned", "done before" or "failed"
    captioned: Captioned | None = None
    reason: str = ""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILES_OR_FOLDERS...", type=click.Path(path_type=Path))
@click.option("--json", "format", flag_value="json", help="A line of JSON for each image.")
@click.option("--csv", "format", flag_value="csv", help="A line of CSV for each image, after a line of titles.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write there, not to stdout.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep there what is done, to be skipped the next time.  [default: beside --output, else none]",
)
@click.option("--url", help="Let the server at this address caption, not the model here.")
@click.option("--username", help="A login at that server. Its password is asked for, or read from a pipe.")
@generation_options
@with_appcontext
def caption(
    paths: tuple[Path, ...],
    format: str | None,
    output: Path | None,
    manifest: Path | None,
    url: str | None,
    username: str | None,
    **options: Any,
) -> None:
    """Caption images: files, and those in folders, by their names.

    What was captioned before is taken from the manifest, if the file has the same path, size and time, the settings
    are the same, and so is the model: its folder, the sizes and times of its files, and the precision; with --url, the
    server's address and the name of its model. Images that cannot be captioned are named on stderr, and make the exit
    code 1.
    """
    config = given(options)
    settings = settings_of(config)
    if username and not url:
        raise click.UsageError("--username is for --url")
    if output and not manifest:
        manifest = Path(f"{output}.manifest")
    if output and manifest and output.resolve() == manifest.resolve():
        raise click.UsageError("--manifest must be another file than --output")
    with _complaints(), ExitStack() as stack:
        if url:
            captioner: FileCaptioner = RemoteCaptioner(stack.enter_context(_client(url, username)), config)
        else:
            captioner = stack.enter_context(closing(LocalCaptioner(current_app.config, settings)))
        known = stack.enter_context(_manifest(manifest, {**captioner.identity, "settings": asdict(settings)}))
        stream = stack.enter_context(_stream(output))
        lines = Output(stream, format or "text", settings.num_return_sequences)
        sys.exit(_caption(paths, captioner, known, lines))


def _caption(paths: tuple[Path, ...], captioner: FileCaptioner, known: Manifest, lines: Output) -> int:
    """Caption all, and return the exit code."""
    kinds: Counter[str] = Counter()
    total = sum(1 for _ in image_paths(paths, lambda _: None)) if sys.stderr.isatty() else None
    with tqdm(total=total, unit="image", disable=None, file=sys.stderr) as bar:

        def fail(name: object, reason: str) -> None:
            kinds["failed"] += 1
            with bar.external_write_mode():
                click.echo(f"{printable(name)}: {printable(reason)}", err=True)

        files = image_paths(paths, lambda error: fail(error.filename, error.strerror or str(error)))
        outcomes = in_order(_captioning(captioner, known), files, captioner.in_flight, captioner.stop)
        try:
            with closing(outcomes):
                for outcome in outcomes:
                    bar.update()
                    if outcome.captioned is None:
                        fail(outcome.path, outcome.reason)
                        continue
                    kinds[outcome.kind] += 1
                    with bar.external_write_mode():
                        lines.add(outcome.path, outcome.captioned)
        except KeyboardInterrupt:
            kinds["interrupted"] = 1
    click.echo(_summary(kinds), err=True)
    return INTERRUPTED if kinds["interrupted"] else int(kinds["failed"] > 0)


def _captioning(captioner: FileCaptioner, known: Manifest) -> Callable[[Path], Outcome]:
    """What is done with each file, in one of many threads."""

    def caption_file(path: Path) -> Outcome:
        try:
            version = Version.of(path)
            if done := known.get(version):
                return Outcome(path, "done before", done)
            captioned = captioner.caption(path)
        except OSError as error:
            return Outcome(path, "failed", reason=error.strerror or str(error))
        except (FlaskappError, ClientError) as error:
            return Outcome(path, "failed", reason=str(error))
        known.add(version, captioned)
        return Outcome(path, "captioned", captioned)

    return caption_file


def _summary(kinds: Counter[str]) -> str:
    counts = [f"{kinds[kind]} {kind}" for kind in ("captioned", "done before", "failed") if kinds[kind]]
    return ("interrupted: " if kinds["interrupted"] else "") + (", ".join(counts) or "no images")


def _client(url: str, username: str | None) -> Client:
    try:
        if split(url).username:
            raise click.UsageError("--url: a login is given by --username")
        return Client(url, auth=(username, read_password()) if username else None, retries=RETRIES)
    except ValueError as error:
        raise click.UsageError(f"--url: {error}") from None


def _manifest(file: Path | None, recipe: dict[str, Any]) -> Manifest:
    try:
        return Manifest(file, recipe)
    except NoManifest as error:
        raise click.UsageError(f"--manifest: {printable(file)}: {error}") from None


def _stream(output: Path | None) -> AbstractContextManager[IO[bytes]]:
    return output.open("wb") if output else nullcontext(sys.stdout.buffer)


@contextmanager
def _complaints() -> Iterator[None]:
    """A file that cannot be written to as a line on stderr and exit code 1. A closed pipe is for click to end at."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"{printable(error.filename or 'output')}: {error.strerror}") from error
