"""What users of this machine have already: logins of other programs, and variables of other gateways."""
