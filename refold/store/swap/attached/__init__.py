"""What is attached to a live table: what moves with a swap, how, and what cannot move."""

from refold.store.swap.attached.fingerprint import fingerprint_statement
from refold.store.swap.attached.look import Attachments, built_as, look

__all__ = ["Attachments", "built_as", "fingerprint_statement", "look"]
