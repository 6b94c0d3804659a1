"""Configurations of other gateways, read into one of ours. What has no place here is said, never dropped."""
