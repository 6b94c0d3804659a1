"""The WSGI application for servers that load one by name: `gunicorn wsgi:app`, `flask --app wsgi run`."""

import sys

from gevent import monkey

from app import create_app

# gunicorn ends, instead of starting the worker again, at this exit status of a worker.
WORKER_BOOT_ERROR = 3

if "gunicorn.arbiter" in sys.modules and not monkey.is_module_patched("socket"):
    # A checkout has a gunicorn.conf.py; with an installed package gunicorn finds no settings of ours by itself.
    print(
        "dragoman: gunicorn's default worker answers one request at a time and cuts streams after 30 seconds.\n"
        "Run `dragoman serve`, or `gunicorn -c python:app.server.gunicorn_conf wsgi:app`.",
        file=sys.stderr,
    )
    sys.exit(WORKER_BOOT_ERROR)

app = create_app()
