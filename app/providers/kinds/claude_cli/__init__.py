"""The Claude program (Claude Code without its screen) as a provider.

One run of the program answers one request: a program that served several would keep one conversation and reveal one
caller's words to the next. Its input is built in order.py, its output read in output.py.
"""
