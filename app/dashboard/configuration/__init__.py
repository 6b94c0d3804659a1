"""The configuration file on pages: the origin of each setting, and changes."""
