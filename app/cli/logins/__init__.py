"""Commands for logins: log in, log out, show status."""
