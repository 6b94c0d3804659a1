"""The pages, one module each. A page and its JSON view below `/_/api` show the same, to the same people."""

from types import ModuleType


def load_pages() -> tuple[ModuleType, ...]:
    """The modules of the pages; importing one adds its views to the blueprint."""
    from app.dashboard.pages import (
        edit,
        exports,
        keys,
        live,
        logs,
        models,
        one_request,
        overview,
        permissions,
        providers,
        recording,
        requests,
        sessions,
        settings,
        usage,
    )

    return (
        *(overview, requests, one_request, exports, sessions, usage, models, permissions),
        *(providers, keys, logs, settings, live, recording, edit),
    )
