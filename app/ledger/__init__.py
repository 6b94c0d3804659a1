"""The ledger: small records that outlive a request, in a database shared by all workers.

It knows bytes, tenants and ages, and nothing of dialects. Nothing is opened before its first use, and a database that
fails raises LedgerUnavailable, never anything else.
"""

from app.ledger.ledger import REASONING_LIFETIME, Ledger, Shelf

__all__ = ["REASONING_LIFETIME", "Ledger", "Shelf"]
