"""Runs the application under gunicorn.

The room's rule: the app must answer just as well without it, under `flask run` or any other WSGI server.
"""
