"""The shapes that a body may have, independent of the name of its path's dialect."""

from __future__ import annotations

from typing import Literal

# The shapes of Messages, Chat Completions, and Responses.
Shape = Literal["messages", "chat", "items"]
