"""The application for a WSGI server, with the settings of the environment: `flaskapp.wsgi:app`."""

import logging
import sys

from flaskapp import create_app, settings

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

# gunicorn reads gunicorn.conf.py of the folder in which it starts, even with --chdir.
if "gunicorn.arbiter" in sys.modules and "flaskapp.serving.worker" not in sys.modules:
    logging.getLogger("flaskapp.serving").warning(
        "gunicorn runs without flaskapp's gunicorn.conf.py, and so without its worker class and time-outs of request "
        "bodies: start it in the folder of wsgi.py, or add --config with the path of gunicorn.conf.py"
    )

with settings.exiting_on_error():
    app = create_app()
