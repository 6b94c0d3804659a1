"""The face of the room for what runs in a gunicorn worker only.

The room's rule: the app must answer just as well without it, under `flask run` or any other WSGI server.
"""
