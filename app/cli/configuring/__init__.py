"""Changes the settings files of clients: only our own keys, after a preview, with a backup."""
