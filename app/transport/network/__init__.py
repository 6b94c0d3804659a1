"""Names, addresses and proxies: how to reach an upstream, and which addresses are forbidden."""
