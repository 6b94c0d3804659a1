"""Tells the log, metrics, accounts, traces, hooks and operators about requests."""
