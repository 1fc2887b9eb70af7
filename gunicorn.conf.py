"""gunicorn's configuration in a checkout, for `gunicorn wsgi:app`: that of the package."""

from flaskapp.serving.gunicorn_conf import *
