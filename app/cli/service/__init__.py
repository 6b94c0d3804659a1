"""The gateway as a service of one user: a unit of systemd, or an agent of launchd."""
