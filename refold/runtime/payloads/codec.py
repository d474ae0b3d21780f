"""The codec: payloads that only who has the key can read. AES-256-GCM, by `cryptography`.

Its payloads are those of Temporal's samples for encryption: ``encoding`` is ``binary/encrypted``,
``encryption-key-id`` names the key, and the data is a nonce of 12 bytes before what is encrypted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from refold.errors import ConfigurationError, UnreadablePayload
from refold.runtime.payloads.keys import PayloadKeys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ENCODING = b"binary/encrypted"
KEY_ID = "encryption-key-id"

_NONCE_BYTES = 12


class KeylessCodec(PayloadCodec):
    """Leaves payloads as they are, and says what is missing when one is encrypted.

    Without it, a signal that this process cannot read would be lost, and a request be refused.
    """

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The same; see `PayloadCodec`."""
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The same; see `PayloadCodec`.

        Raises:
            UnreadablePayload: One is encrypted.
        """
        for payload in payloads:
            if is_encrypted(payload):
                raise UnreadablePayload.without_keys(_key_of(payload))
        return list(payloads)


class EncryptingCodec(PayloadCodec):
    """Encrypts with the first key, and decrypts with all; takes what is plain as it is.

    Args:
        keys: Of this process.

    Raises:
        ConfigurationError: The package `cryptography` is not installed.
    """

    def __init__(self, keys: PayloadKeys) -> None:
        aes = _aes()
        self._keys = keys
        self._ciphers: dict[str, AESGCM] = {name: aes(key) for name, key in keys.by_id.items()}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypts each payload; see `PayloadCodec`."""
        return [self.sealed(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypts each that is encrypted; see `PayloadCodec`.

        Raises:
            UnreadablePayload: No key of this process opens one.
        """
        return [self.opened(payload) for payload in payloads]

    def sealed(self, payload: Payload) -> Payload:
        """The payload, encrypted with the first key; as it is when payloads are left plain."""
        name = self._keys.first
        if name is None:
            return payload
        nonce = os.urandom(_NONCE_BYTES)
        data = nonce + self._ciphers[name].encrypt(nonce, payload.SerializeToString(), None)
        return Payload(metadata={"encoding": ENCODING, KEY_ID: name.encode()}, data=data)

    def opened(self, payload: Payload) -> Payload:
        """The payload as it was before it was encrypted; as it is when it is not.

        Raises:
            UnreadablePayload: No key of this process opens it.
        """
        from cryptography.exceptions import InvalidTag

        if not is_encrypted(payload):
            return payload
        name = _key_of(payload)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise UnreadablePayload.of_another_key(name, self._keys.source, list(self._ciphers))
        nonce, data = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, data, None))
        except (InvalidTag, ValueError, DecodeError):
            raise UnreadablePayload.not_opened(name, self._keys.source) from None


def is_encrypted(payload: Payload) -> bool:
    """Whether it says of itself that it is encrypted, and with which key.

    Without a key's id nobody will ever read it: it is refused as what is not JSON, not waited for.
    """
    return payload.metadata.get("encoding") == ENCODING and bool(_key_of(payload))


def _key_of(payload: Payload) -> str:
    return payload.metadata.get(KEY_ID, b"").decode(errors="replace")[:64]


def _aes() -> type[AESGCM]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError:
        raise ConfigurationError(
            "REFOLD_PAYLOAD_KEY_FILE: expected the package `cryptography`, which encrypts, got "
            "none: install refold[encryption]"
        ) from None
    return AESGCM
