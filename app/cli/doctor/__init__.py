"""Diagnoses a setup: each finding comes with the command that fixes it. Nothing here changes the setup."""
