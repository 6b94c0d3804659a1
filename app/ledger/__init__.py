"""This room keeps what must outlive a request, in a database that all workers share.

It knows bytes, tenants and ages, and nothing of dialects. Nothing is opened before its first use, and a database that
fails raises LedgerUnavailable, never anything else.
"""

from app.ledger.ledger import REASONING_LIFETIME, Ledger, Shelf

__all__ = ["REASONING_LIFETIME", "Ledger", "Shelf"]
