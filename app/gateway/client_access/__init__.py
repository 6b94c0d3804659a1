"""Who may ask: client keys, what each may do, and whose things are whose."""
