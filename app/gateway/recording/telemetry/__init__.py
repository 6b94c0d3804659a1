"""Exports logs, traces and metrics. OpenTelemetry is imported only where it is used."""
