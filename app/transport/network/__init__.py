"""Names, addresses and proxies: which way leads to an upstream, and which are forbidden."""
