"""The dashboard: server-rendered HTML pages."""
