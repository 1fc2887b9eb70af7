"""gunicorn with the configuration and the application of this package."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication

APPLICATION = "flaskapp.wsgi:app"
CONFIGURATION = "python:flaskapp.serving.gunicorn_conf"


class Server(WSGIApplication):  # type: ignore[misc] # gunicorn has no types
    """`flaskapp serve`. gunicorn reads `sys.argv` again at each reload and upgrade, so that it stays as it is."""

    def __init__(self) -> None:
        super().__init__("%(prog)s [OPTIONS]", prog="flaskapp serve")

    def init(self, parser: ArgumentParser, opts: Namespace, args: Sequence[str]) -> Any:
        """Fill in what `gunicorn wsgi:app` takes from the command line and the folder."""
        if len(args) > 1:  # the first is "serve"
            parser.error(f"unrecognized arguments: {' '.join(args[1:])}")
        opts.config = opts.config or CONFIGURATION
        return super().init(parser, opts, [APPLICATION])
