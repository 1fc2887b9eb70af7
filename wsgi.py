"""The application for `gunicorn wsgi:app` and `flask --app wsgi` in a checkout."""

from flaskapp.wsgi import app as app
