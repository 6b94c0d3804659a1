"""Makes `gunicorn wsgi:app` in a checkout run with the settings of `dragoman serve`."""

from app.server import gunicorn_conf

globals().update({name: value for name, value in vars(gunicorn_conf).items() if not name.startswith("_")})
