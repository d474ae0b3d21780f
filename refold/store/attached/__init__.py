"""What hangs on a live table: what moves with a swap, how, and what cannot."""

from refold.store.attached.fingerprint import fingerprint_statement
from refold.store.attached.look import Attachments, look, names_built

__all__ = ["Attachments", "fingerprint_statement", "look", "names_built"]
