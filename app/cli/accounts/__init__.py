"""Commands that read the accounts: they open the same database as the server, and write nothing."""
