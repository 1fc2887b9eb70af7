"""What a WSGI server runs: `gunicorn wsgi:app`."""

from flaskapp import create_app

app = create_app()
