"""Adapts tools, tool calls and tool results to one upstream."""
