"""This file is what WSGI servers load: `gunicorn wsgi:app`, `flask --app wsgi run`."""

from app import create_app

app = create_app()
