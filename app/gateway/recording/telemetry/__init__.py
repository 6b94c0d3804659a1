"""Requests and messages for a collector of OpenTelemetry. What is imported of it, is imported once it is wanted."""
