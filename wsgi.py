"""What a WSGI server runs: `gunicorn wsgi:app`."""

import logging

from flaskapp import create_app, settings

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

with settings.exiting_on_error():
    app = create_app()
