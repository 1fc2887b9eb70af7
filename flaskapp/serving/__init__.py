"""How gunicorn serves the application: what `gunicorn.conf.py` names. Nothing here knows what a request asks for."""
