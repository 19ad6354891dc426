"""Keys as a terminal sends them: bytes in, names out."""

from __future__ import annotations

import codecs
import re

#: What terminals send for keys that are no characters.
_SEQUENCES = {
    "A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "Z": "tab",
    "1~": "home", "7~": "home", "4~": "end", "8~": "end", "5~": "pgup", "6~": "pgdn",
    "3~": "delete",
}  # fmt: skip
_PLAIN = {
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\t": "tab",
    "\x15": "clear", "\x0c": "redraw",
}  # fmt: skip
#: ESC [ with numbers and a letter or ~, or ESC O and a letter.
_ESCAPE = re.compile(r"\x1b(?:\[([0-9;]*)([A-Za-z~])|O([A-Za-z]))")
#: The beginning of one that may still be on its way.
_BEGUN = re.compile(r"\x1b(?:\[[0-9;]*|O)?\Z")


class Keys:
    """Takes what was typed, gives names: `up`, `enter`, `esc`, or the character itself."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._rest = ""

    @property
    def pending(self) -> bool:
        """Whether something has come that may be the beginning of a longer sequence."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys in what has come; a sequence that is not whole is kept."""
        text, self._rest = self._rest + self._decoder.decode(data), ""
        names: list[str] = []
        while text:
            if _BEGUN.fullmatch(text):
                self._rest = text
                break
            name, text = _first(text)
            if name:
                names.append(name)
        return names

    def flush(self) -> list[str]:
        """Return what was kept as it is: a lone ESC is the key of that name."""
        rest, self._rest = self._rest, ""
        return ["esc", *rest[1:]] if rest else []


def _first(text: str) -> tuple[str, str]:
    """Return the name of the first key, empty if it has none, and what comes behind it."""
    if text[0] == "\x1b":
        if found := _ESCAPE.match(text):
            numbers, end, letter = found.groups()
            word = letter or (f"{numbers.partition(';')[0]}~" if end == "~" else end)
            return _SEQUENCES.get(word, ""), text[found.end() :]
        return "esc", text[1:]
    name = _PLAIN.get(text[0]) or (text[0] if text[0].isprintable() else "")
    return name, text[1:]
