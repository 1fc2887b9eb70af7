"""`flaskapp serve`: gunicorn with this package's configuration and application."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication

APPLICATION = "flaskapp.wsgi:app"
CONFIGURATION = "python:flaskapp.serving.gunicorn_conf"


class Server(WSGIApplication):  # type: ignore[misc] # gunicorn has no types
    """Leaves `sys.argv` unchanged, because gunicorn reads it again at each reload and upgrade."""

    def __init__(self) -> None:
        super().__init__("%(prog)s [OPTIONS]", prog="flaskapp serve")

    def init(self, parser: ArgumentParser, opts: Namespace, args: Sequence[str]) -> Any:
        """Set what `gunicorn wsgi:app` takes from the command line and the current folder."""
        if len(args) > 1:  # the first is "serve"
            parser.error(f"unrecognized arguments: {' '.join(args[1:])}")
        opts.config = opts.config or CONFIGURATION
        return super().init(parser, opts, [APPLICATION])
