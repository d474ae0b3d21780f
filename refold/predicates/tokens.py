"""The words of a CEL expression."""

from __future__ import annotations

import re
from typing import NamedTuple

from refold.predicates.places import refusal

# As in CEL's grammar. Escapes inside texts are left to the library, which decodes them.
_WORDS = re.compile(
    r"""
    (?P<space>(?:[\t \r\n\f]|//[^\n]*)+)
  | (?P<text>[bB]?(?:
        [rR](?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n\r]*"|'[^'\n\r]*')
      | \"{3}(?:\\[\s\S]|[^\\])*?\"{3} | '{3}(?:\\[\s\S]|[^\\])*?'{3}
      | "(?:\\[^\n\r]|[^"\\\n\r])*" | '(?:\\[^\n\r]|[^'\\\n\r])*'
    ))
  | (?P<number>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+
      | \.[0-9]+(?:[eE][+-]?[0-9]+)? | 0x[0-9a-fA-F]+[uU]? | [0-9]+[uU]?)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign>==|!=|<=|>=|&&|\|\||[<>\[\]{}().,\-!?:+*/%])
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    """A word: its kind (text, number, word, sign or end), how it is written, and where."""

    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.at + len(self.text)


def tokens_of(text: str) -> list[Token]:
    """All words of a text in order; the last is of the kind ``end``.

    Raises:
        InvalidRequest: Something in it is no word of CEL.
    """
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _WORDS.match(text, at)
        if match is None:
            opening = text[at] in "\"'"
            reason = "a text that does not end" if opening else "no word of CEL"
            raise refusal(text, at, reason, text[at:] if opening else text[at])
        kind = match.lastgroup
        assert kind is not None
        if kind != "space":
            found.append(Token(kind, match.group(), at))
        at = match.end()
    return [*found, Token("end", "", len(text))]
