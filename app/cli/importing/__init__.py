"""Imports other gateways' configurations. What cannot be carried over is reported."""
