"""From the text of a CEL expression to its parts.

The library tells nothing of an expression's parts; what is pushed down, and what is refused before
an event is seen, is decided by them. The grammar is CEL's without what the library lacks
(messages, optional fields, names in backticks), and with texts as the only keys of a map literal.
"""

from __future__ import annotations

from collections.abc import Callable

from refold.predicates.places import refusal
from refold.predicates.syntax import (
    All,
    Any,
    Binary,
    Call,
    Conditional,
    Has,
    Index,
    ListOf,
    Literal,
    Macro,
    MapOf,
    Name,
    Negative,
    Node,
    Not,
    Scalar,
    Select,
)
from refold.predicates.tokens import Token, tokens_of

MAX_DEPTH = 32
"""How deep parts may be in one another; chains of && and of || count once, as long as they are."""

MACROS = {"all": 2, "exists": 2, "exists_one": 2, "existsOne": 2, "filter": 2, "map": 3}
"""Macros over lists, and how many arguments they have at most."""

_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_RELATIONS = ("==", "!=", "<", "<=", ">", ">=", "in")


def parsed(text: str, decode: Callable[[str], Scalar]) -> Node:
    """The parts of a text; `decode` gives the value of a number or a text as it is written.

    Raises:
        InvalidRequest: It is no CEL expression, or nested deeper than `MAX_DEPTH`.
    """
    return _Parser(text, decode).whole()


class _Parser:
    def __init__(self, text: str, decode: Callable[[str], Scalar]) -> None:
        self._text = text
        self._decode = decode
        self._tokens = tokens_of(text)
        self._next = 0
        self._nested = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._token.kind != "end":
            raise self._unexpected("an operator or the end")
        return node

    # -- words -------------------------------------------------------------------------------

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    @property
    def _end(self) -> int:
        """Where the last word that was taken ends."""
        return self._tokens[self._next - 1].end

    def _is(self, *words: str) -> bool:
        return self._token.kind in ("sign", "word") and self._token.text in words

    def _take(self) -> Token:
        token = self._token
        self._next += 1
        return token

    def _took(self, word: str) -> bool:
        found = self._is(word)
        if found:
            self._next += 1
        return found

    def _must(self, word: str) -> None:
        if not self._took(word):
            raise self._unexpected(f"{word!r}")

    def _unexpected(self, wanted: str) -> Exception:
        token = self._token
        got = token.text or "the end"
        return refusal(self._text, token.at, f"{wanted} is missing", got)

    def _depth(self, at: int, *parts: Node) -> int:
        depth = 1 + max((part.depth for part in parts), default=0)
        if depth > MAX_DEPTH:
            raise self._too_deep(at)
        return depth

    def _too_deep(self, at: int) -> Exception:
        bound = f"a CEL expression nested at most {MAX_DEPTH} deep"
        return refusal(self._text, at, "nested too deeply", self._text[at:], bound)

    # -- from the loosest operator to the tightest -------------------------------------------

    def _expression(self) -> Node:
        # Parentheses are no parts, but each takes a piece of the stack here.
        self._nested += 1
        if self._nested > MAX_DEPTH:
            raise self._too_deep(self._token.at)
        node = self._any()
        if self._took("?"):
            yes = self._any()
            self._must(":")
            no = self._expression()
            depth = self._depth(node.at, node, yes, no)
            node = Conditional(node.at, self._end, depth, node, yes, no)
        self._nested -= 1
        return node

    def _any(self) -> Node:
        operands = [self._all()]
        while self._took("||"):
            operands.append(self._all())
        if len(operands) == 1:
            return operands[0]
        at = operands[0].at
        flat = [o for one in operands for o in (one.operands if isinstance(one, Any) else (one,))]
        return Any(at, self._end, self._depth(at, *flat), tuple(flat))

    def _all(self) -> Node:
        operands = [self._relation()]
        while self._took("&&"):
            operands.append(self._relation())
        if len(operands) == 1:
            return operands[0]
        at = operands[0].at
        flat = [o for one in operands for o in (one.operands if isinstance(one, All) else (one,))]
        return All(at, self._end, self._depth(at, *flat), tuple(flat))

    def _relation(self) -> Node:
        return self._binary(_RELATIONS, self._sum)

    def _sum(self) -> Node:
        return self._binary(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._binary(("*", "/", "%"), self._unary)

    def _binary(self, operators: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        left = operand()
        while self._is(*operators):
            operator = self._take().text
            right = operand()
            depth = self._depth(left.at, left, right)
            left = Binary(left.at, self._end, depth, operator, left, right)
        return left

    def _unary(self) -> Node:
        signs: list[Token] = []
        while self._is("!", "-") and (not signs or self._is(signs[0].text)):
            signs.append(self._take())
        number = self._token.kind == "number"
        if signs and signs[-1].text == "-" and number and signs[-1].end == self._token.at:
            # The least integer is only a number together with its sign.
            sign, token = signs.pop(), self._take()
            node = self._suffixes(self._literal(f"-{token.text}", sign.at))
        else:
            node = self._member()
        for sign in reversed(signs):
            kind = Not if sign.text == "!" else Negative
            node = kind(sign.at, self._end, self._depth(sign.at, node), node)
        return node

    def _member(self) -> Node:
        return self._suffixes(self._primary())

    def _suffixes(self, node: Node) -> Node:
        while True:
            if self._took("."):
                name = self._identifier()
                if self._took("("):
                    node = self._method(node, name)
                else:
                    depth = self._depth(node.at, node)
                    node = Select(node.at, self._end, depth, node, name.text)
            elif self._took("["):
                index = self._expression()
                self._must("]")
                depth = self._depth(node.at, node, index)
                node = Index(node.at, self._end, depth, node, index)
            else:
                return node

    def _method(self, target: Node, name: Token) -> Node:
        arguments = self._arguments(")")
        depth = self._depth(target.at, target, *arguments)
        place = (target.at, self._end, depth)
        if name.text not in MACROS:
            return Call(*place, name.text, target, arguments)
        if len(arguments) not in (2, MACROS[name.text]):
            wanted = f"{name.text}(variable, expression)"
            raise refusal(self._text, name.at, f"{wanted} has other arguments", self._since(name))
        variable, *condition, body = arguments
        if not isinstance(variable, Name):
            got = self._text[variable.at : variable.end]
            raise refusal(self._text, variable.at, "a name for a variable is missing", got)
        macro = "exists_one" if name.text == "existsOne" else name.text
        given = condition[0] if condition else None
        return Macro(*place, macro, target, variable.name, given, body)

    def _since(self, token: Token) -> str:
        return self._text[token.at : self._end]

    def _identifier(self) -> Token:
        token = self._token
        if token.kind != "word" or token.text in ("in", *_WORDS):
            raise self._unexpected("the name of a field or function")
        return self._take()

    def _primary(self) -> Node:  # noqa: PLR0911 (one for each kind of part)
        token = self._token
        if token.kind in ("number", "text"):
            self._take()
            return self._literal(token.text, token.at)
        if self._took("("):
            node = self._expression()
            self._must(")")
            return node
        if self._took("["):
            items = self._arguments("]")
            return ListOf(token.at, self._end, self._depth(token.at, *items), items)
        if self._took("{"):
            return self._map(token.at)
        if token.kind != "word" or token.text == "in":
            raise self._unexpected("a value")
        self._take()
        if token.text in _WORDS:
            return Literal(token.at, token.end, 1, _WORDS[token.text], token.text)
        if not self._took("("):
            return Name(token.at, token.end, 1, token.text)
        arguments = self._arguments(")")
        depth = self._depth(token.at, *arguments)
        if token.text != "has":
            return Call(token.at, self._end, depth, token.text, None, arguments)
        if len(arguments) != 1 or not isinstance(arguments[0], Select):
            reason = "has(…) asks for a field, such as has(event.data.sku)"
            raise refusal(self._text, token.at, reason, self._since(token))
        return Has(token.at, self._end, depth, arguments[0])

    def _literal(self, written: str, at: int) -> Literal:
        try:
            value = self._decode(written)
        except (ValueError, TypeError):
            kind = "text" if written[-1] in "\"'" else "number"
            raise refusal(self._text, at, f"no {kind} that CEL can hold", written) from None
        return Literal(at, self._end, 1, value, written)

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self._took(closing):
            if found:
                self._must(",")
                if closing == "]" and self._took(closing):
                    break
            found.append(self._expression())
        return tuple(found)

    def _map(self, at: int) -> Node:
        entries: list[tuple[Literal, Node]] = []
        while not self._took("}"):
            if entries:
                self._must(",")
                if self._took("}"):
                    break
            key = self._expression()
            if not isinstance(key, Literal) or not isinstance(key.value, str):
                got = self._text[key.at : key.end]
                raise refusal(self._text, key.at, "a map's key must be a text", got)
            self._must(":")
            entries.append((key, self._expression()))
        depth = self._depth(at, *[value for _, value in entries])
        return MapOf(at, self._end, depth, tuple(entries))
