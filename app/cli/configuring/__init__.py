"""Changes clients' settings files: only our own keys, after a preview, with a backup."""
