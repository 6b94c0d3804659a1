"""Commands that read the accounts. They open the server's database and write nothing to it."""
