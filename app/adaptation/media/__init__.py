"""Images, documents and other files: what an upstream takes of them, and what stands in for the rest."""
