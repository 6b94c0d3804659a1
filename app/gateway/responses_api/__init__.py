"""What only Responses clients have: kept responses, conversations, background work, compaction."""
