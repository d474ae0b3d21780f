"""The data converters of a process: pydantic's models, with Refold's codec, for its key file.

The worker's is forgiving: arguments that cannot be decoded come as what they are. Temporal's own
would leave a workflow running for ever, trying to decode its input or a signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    PayloadConverter,
)

from refold.errors import UnreadablePayload
from refold.requests.undecodable import Undecodable
from refold.runtime.payloads.codec import EncryptingCodec, KeylessCodec
from refold.runtime.payloads.keys import load_keys


class ForgivingPayloadConverter(PydanticPayloadConverter):
    """pydantic's converter; what nobody has named a type for need not be decodable."""

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """The values; `Undecodable` for those of no type that cannot be decoded."""
        values: list[Any] = []
        for payload, hint in zip_longest(payloads, type_hints or []):
            try:
                values += super().from_payloads([payload], None if hint is None else [hint])
            except Exception as error:
                # Typed are the results of our own activities: there it is a defect.
                if hint not in (None, Any):
                    raise
                values.append(Undecodable(_why(payload, error)))
        return values


class ForgivingDataConverter(DataConverter):
    """A worker's: what has no type, such as details of heartbeats, need not be readable.

    The SDK would end a step for good, and so its run, because the worker that had it before
    encrypts with a key that this one has not yet.
    """

    async def decode(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """The values; `Undecodable` for those of no type when one is encrypted.

        Raises:
            UnreadablePayload: One that has a type is encrypted with a key that is not here.
        """
        try:
            return await super().decode(payloads, type_hints)
        except UnreadablePayload as error:
            if type_hints is not None:
                raise
            return [Undecodable(str(error)) for _ in payloads]


def _why(payload: Payload, error: Exception) -> str:
    encoding = payload.metadata.get("encoding", b"").decode(errors="replace")[:50]
    if encoding != "json/plain":
        return f"its encoding is {encoding or 'not given'!r}, expected 'json/plain'"
    said = str(error)
    return "it is nested too deep" if "recursion limit" in said else "it is not JSON"


def make_data_converter(key_file: Path | None) -> DataConverter:
    """The data converter of a client of this process.

    Args:
        key_file: REFOLD_PAYLOAD_KEY_FILE; None to encrypt nothing.

    Raises:
        ConfigurationError: The key file cannot be read, or is none.
    """
    return with_codec(with_pydantic(DataConverter.default), key_file)


def with_pydantic(converter: DataConverter | None) -> DataConverter:
    """A data converter that takes pydantic's models; codecs and the like stay as they are.

    One with a payload converter of somebody's own is left as it is.
    """
    converter = converter or DataConverter.default
    if converter.payload_converter_class is not DefaultPayloadConverter:
        return converter
    return replace(converter, payload_converter_class=PydanticPayloadConverter)


def with_codec(converter: DataConverter, key_file: Path | None) -> DataConverter:
    """A data converter with Refold's codec; one that has a codec already is left as it is.

    With keys, messages and traces of failures are encrypted, too.

    Raises:
        ConfigurationError: The key file cannot be read, or is none.
    """
    if converter.payload_codec is not None:
        return converter
    if key_file is None:
        return replace(converter, payload_codec=KeylessCodec())
    converter = replace(converter, payload_codec=EncryptingCodec(load_keys(key_file)))
    if converter.failure_converter_class is not DefaultFailureConverter:
        return converter
    return replace(converter, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)


def forgiving_converter(converter: DataConverter) -> DataConverter:
    """The same data converter, which decodes with `ForgivingPayloadConverter`.

    One with a payload converter of somebody's own is left as it is.
    """
    converter = with_pydantic(converter)
    if converter.payload_converter_class is not PydanticPayloadConverter:
        return converter
    kind: type[PayloadConverter] = ForgivingPayloadConverter
    converter = replace(converter, payload_converter_class=kind)
    if type(converter) is not DataConverter:
        return converter
    given = {one.name: getattr(converter, one.name) for one in fields(converter) if one.init}
    return ForgivingDataConverter(**given)


def forgiving(client: Client, key_file: Path | None) -> Client:
    """The same client, with the data converter for a worker; see `forgiving_converter`.

    Raises:
        ConfigurationError: The key file cannot be read, or is none.
    """
    config = client.config(active_config=True)
    config["data_converter"] = with_codec(forgiving_converter(config["data_converter"]), key_file)
    # What they change is in the configuration already.
    config["plugins"] = []
    return Client(**config)
