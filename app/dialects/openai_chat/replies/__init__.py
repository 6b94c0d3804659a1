"""Parts of replies: content, tool calls, citations, repairs."""
