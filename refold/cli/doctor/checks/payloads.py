"""What crosses Temporal: whether it is encrypted, and whether it can be read here."""

from __future__ import annotations

from refold.cli.doctor.finding import Finding, ok, wrong
from refold.cli.doctor.look import Look
from refold.runtime.payloads.keys import load_keys
from refold.runtime.temporal.readable import look as look_at

# A sample: all that runs has been started lately, or by processes with one key file.
_MOST = 10


async def encryption(look: Look) -> list[Finding]:
    """Whether this process has the keys of what runs."""
    key_file = look.settings.payload_key_file
    if key_file is None:
        said = "nothing is encrypted from here"
    else:
        keys = load_keys(key_file)
        how = "nothing yet" if keys.first is None else f"with key {keys.first!r}"
        said = f"encrypts {how}, decrypts with {', '.join(keys.by_id)}"
    seen = await look_at(look.client, look.settings.task_queue, _MOST)
    if seen.unreadable:
        return [wrong(one) for one in seen.unreadable]
    return [ok(f"{said}; {seen.readable} running workflows can be read" if seen.readable else said)]
