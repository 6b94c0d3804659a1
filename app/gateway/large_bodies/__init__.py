"""Large bodies: how many bytes a worker holds, and work on them that would hold up the others."""
