"""State of the Responses API: stored responses, conversations, background work, compaction."""
