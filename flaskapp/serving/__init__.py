"""How gunicorn serves the application: what `gunicorn_conf` names. Nothing here knows what a request asks for."""
