"""Serves the application with gunicorn: configuration, workers, processes, logs. Knows no endpoint."""
