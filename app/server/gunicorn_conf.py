"""The settings for `gunicorn -c python:app.server.gunicorn_conf wsgi:app`."""

# ruff: noqa: E402
from app.patching import prepare_process

# Must come first: importing our settings loads the whole package, with ssl and sockets, which must be patched by then.
prepare_process()

import os

from app.server.gunicorn_settings import gunicorn_options
from app.settings import load_settings

globals().update(gunicorn_options(load_settings(None, os.environ, {}).server))
