"""`flask --app wsgi caption`: captions files and folders."""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Any

import click
from flask import current_app
from flask.cli import with_appcontext
from tqdm import tqdm

from flaskapp.cli.captioners import FileCaptioner, LocalCaptioner, RemoteCaptioner
from flaskapp.cli.generation_options import generation_options, given, settings_of
from flaskapp.cli.image_paths import image_paths
from flaskapp.cli.job_captioner import JobCaptioner
from flaskapp.cli.manifest import Manifest, NotAManifest
from flaskapp.cli.outcome import CAPTIONED, DONE_BEFORE, FAILED, Outcome, outcomes_by_file
from flaskapp.cli.output import Output
from flaskapp.cli.terminal import interrupts, printable, read_password
from flaskapp.client import Client
from flaskapp.client.transport import split

RETRIES = 5  # retries of a request while the server is busy
INTERRUPTED = 130  # exit code: 128 + SIGINT

Outcomes = Callable[[Iterator[Path], Manifest, Callable[[int], object]], Generator[Outcome]]


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILES_OR_FOLDERS...", type=click.Path(path_type=Path))
@click.option("--json", "format", flag_value="json", help="Print a line of JSON for each image.")
@click.option("--csv", "format", flag_value="csv", help="Print a line of CSV for each image, after a header.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the captions to this file, not to stdout."
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Record finished files here, and skip them on a rerun.  [default: beside --output, else none]",
)
@click.option("--url", help="Caption by the server at this address, not in this process.")
@click.option("--job", is_flag=True, help="Send the files to the server as jobs of a few hundred images.")
@click.option("--username", help="Log in to the server. Prompts for the password, or reads it from a pipe.")
@click.option("--token", is_flag=True, help="Send an API token to the server. Prompts for it, or reads it from a pipe.")
@generation_options
@with_appcontext
def caption(
    paths: tuple[Path, ...],
    format: str | None,
    output: Path | None,
    manifest: Path | None,
    url: str | None,
    job: bool,
    username: str | None,
    token: bool,
    **options: Any,
) -> None:
    """Caption images: files, and the files in folders that are named like images.

    Reuses captions from the manifest if the file has the same path, size and time, the settings are the same, and the
    model is the same: its folder, the sizes and times of its files, and the precision; with --url, the server's
    address and the name of its model. Names images that cannot be captioned on stderr, and then exits with 1.
    """
    config = given(options)
    settings = settings_of(config)
    if username and not url:
        raise click.UsageError("--username is for --url")
    if token and (username or not url):
        raise click.UsageError("--token is for --url, without --username")
    if job and not url:
        raise click.UsageError("--job is for --url")
    if settings.scores and (job or format != "json"):
        raise click.UsageError("--scores is for --json, and not for --job")
    if output and not manifest:
        manifest = Path(f"{output}.manifest")
    if output and manifest and output.resolve() == manifest.resolve():
        raise click.UsageError("--manifest must be another file than --output")
    with _write_errors(), ExitStack() as stack:
        captioner: FileCaptioner | JobCaptioner
        if url:
            server = stack.enter_context(_client(url, username, has_token=token))
            captioner = JobCaptioner(server, config) if job else RemoteCaptioner(server, config)
        else:
            captioner = stack.enter_context(closing(LocalCaptioner(current_app.config, settings)))
        finished = stack.enter_context(_open_manifest(manifest, captioner.identity))
        stream = stack.enter_context(_stream(output))
        if captioner.warning:
            click.echo(f"Warning: {printable(captioner.warning)}", err=True)
        sys.exit(_caption(paths, _outcomes_of(captioner), finished, Output(stream, format or "text")))


def _outcomes_of(captioner: FileCaptioner | JobCaptioner) -> Outcomes:
    return captioner.outcomes if isinstance(captioner, JobCaptioner) else partial(outcomes_by_file, captioner)


def _caption(paths: tuple[Path, ...], outcomes_of: Outcomes, manifest: Manifest, output: Output) -> int:
    """Caption all files, and return the exit code."""
    counts: Counter[str] = Counter()
    total = sum(1 for _ in image_paths(paths, lambda _: None)) if sys.stderr.isatty() else None
    with tqdm(total=total, unit="image", disable=None, file=sys.stderr) as bar:
        try:
            with interrupts() as interrupt:

                def advance(images: int) -> None:
                    with interrupt.deferred():
                        bar.update(images)

                def fail(name: object, reason: str) -> None:
                    counts[FAILED] += 1
                    with interrupt.deferred(), bar.external_write_mode():
                        click.echo(f"{printable(name)}: {printable(reason)}", err=True)

                files = image_paths(paths, lambda error: fail(error.filename, error.strerror or str(error)))
                with closing(outcomes_of(files, manifest, advance)) as outcomes:
                    for outcome in outcomes:
                        interrupt.check()
                        if outcome.captioned is None:
                            fail(outcome.path, outcome.reason)
                            continue
                        counts[outcome.kind] += 1
                        with interrupt.deferred(), bar.external_write_mode():
                            output.add(outcome.path, outcome.captioned)
        except KeyboardInterrupt:
            counts["interrupted"] = 1
    output.end()
    click.echo(_summary(counts), err=True)
    return INTERRUPTED if counts["interrupted"] else int(counts[FAILED] > 0)


def _summary(counts: Counter[str]) -> str:
    parts = [f"{counts[kind]} {kind}" for kind in (CAPTIONED, DONE_BEFORE, FAILED) if counts[kind]]
    return ("interrupted: " if counts["interrupted"] else "") + (", ".join(parts) or "no images")


def _client(url: str, username: str | None, *, has_token: bool) -> Client:
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # without a warning for each retry
    try:
        if split(url).username:
            raise click.UsageError("--url: pass the login by --username")
    except ValueError as error:
        raise click.UsageError(f"--url: {error}") from None
    auth = (username, read_password()) if username else None
    token = read_password(prompt="Token") if has_token else None
    try:
        return Client(url, auth=auth, token=token, retries=RETRIES)
    except ValueError as error:
        raise click.UsageError(f"--token: {error}") from None


def _open_manifest(file: Path | None, recipe: Mapping[str, Any]) -> Manifest:
    try:
        return Manifest(file, recipe)
    except NotAManifest as error:
        raise click.UsageError(f"--manifest: {printable(file)}: {error}") from None


def _stream(output: Path | None) -> AbstractContextManager[IO[bytes]]:
    return output.open("wb") if output else nullcontext(sys.stdout.buffer)


@contextmanager
def _write_errors() -> Iterator[None]:
    """Turn an error of a written file into a message and exit code 1. click handles a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"{printable(error.filename or 'output')}: {error.strerror}") from error
