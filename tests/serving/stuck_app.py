"""An application whose import never ends, for gunicorn."""

import signal

print("The application is being imported", flush=True)
while True:
    signal.pause()
