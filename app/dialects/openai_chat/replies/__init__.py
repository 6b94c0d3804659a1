"""What replies hold and streams share with them: parts, calls, citations, and their repair."""
