"""Installs the gateway as a user service, with systemd or launchd."""
