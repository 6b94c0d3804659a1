"""The ledger: small records that outlive a request, in a database shared by all workers.

It handles bytes, tenants and ages, and knows no dialects. Nothing is opened before its first use. If a database fails,
LedgerUnavailable is raised, never anything else.
"""

from app.ledger.ledger import REASONING_LIFETIME, Collection, Ledger, read_record

__all__ = ["REASONING_LIFETIME", "Collection", "Ledger", "read_record"]
