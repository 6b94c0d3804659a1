"""Reports requests to the log, metrics, accounts, traces, hooks and operators."""
