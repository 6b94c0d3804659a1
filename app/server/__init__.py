"""Runs the application under gunicorn.

The application must work just as well without this package, under `flask run` or any other WSGI server.
"""
