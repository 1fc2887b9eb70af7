"""What a WSGI server runs: `gunicorn wsgi:app`."""

import logging

from flaskapp import create_app

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

app = create_app()
