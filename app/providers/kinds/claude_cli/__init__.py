"""The Claude program (Claude Code without its screen) as a provider.

One run of the program answers one request: a program that serves several keeps one conversation, and tells the second
caller what the first one said. What the program is told stands in order.py, what it says in output.py.
"""
