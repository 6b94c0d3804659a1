"""OAuth logins: issuers, the browser and the token endpoint."""
