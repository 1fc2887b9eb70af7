"""gunicorn reads this file in a checkout: `gunicorn wsgi:app`. The configuration is the installed package's."""

from flaskapp.serving.gunicorn_conf import *
