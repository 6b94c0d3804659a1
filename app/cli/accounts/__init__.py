"""Commands that read the accounts. They open the server's database but never write to it."""
