"""The shapes that a body may have, whatever the dialect of its path is called."""

from __future__ import annotations

from typing import Literal

# Those of Messages, of Chat Completions, and of Responses.
Shape = Literal["messages", "chat", "items"]
