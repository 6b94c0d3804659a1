"""The commands about logins: in, out, and how they are."""
