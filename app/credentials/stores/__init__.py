"""Where logins are kept, and who may write to them."""
