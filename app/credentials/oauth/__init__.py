"""OAuth logins: issuers, browser and token endpoint."""
