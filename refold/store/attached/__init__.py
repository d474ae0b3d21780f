"""What hangs on a live table: what moves with a swap, how, and what cannot."""

from refold.store.attached.fingerprint import fingerprint_statement
from refold.store.attached.look import Attachments, built_as, look

__all__ = ["Attachments", "built_as", "fingerprint_statement", "look"]
