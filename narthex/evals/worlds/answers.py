"""What an answer says: quantities with their units, whichever way they are written."""

from __future__ import annotations

import re
from decimal import Decimal

_ALIASES = {
    "bars": "bar", "volt": "v", "volts": "v", "amp": "a", "amps": "a", "ampere": "a", "amperes": "a", "watt": "w",
    "watts": "w", "kilopascal": "kpa", "kilopascals": "kpa", "milliamp": "ma", "milliamps": "ma", "percent": "%",
    "c": "°c", "celsius": "°c", "°": "°c", "degrees": "°c", "litre": "l", "litres": "l", "liter": "l", "liters": "l",
    "hertz": "hz", "second": "s", "seconds": "s", "sec": "s",
}  # fmt: skip
# Words that may follow a number without being a unit.
_NOT_UNITS = frozenset(("on", "at", "is", "in", "and", "for", "as", "of", "to", "now", "here", "shown", "so", "which"))
_NUMBER = re.compile(
    r"(?<![\w.,])(?P<number>[-\u2212]?\d+(?:,\d{3})*(?:\.\d+)?)(?!\d)"  # 347, 4.7, 1,234, and a sign
    r"\s*(?P<unit>[%°º]\s?[A-Za-z]*|[A-Za-z]+)?"
)


def quantities(text: str) -> list[tuple[Decimal, str]]:
    """The numbers of a text, each with the unit stated behind it ("" if none), in small letters."""
    found = []
    for match in _NUMBER.finditer(text):
        number = Decimal(match["number"].replace(",", "").replace("\u2212", "-"))
        unit = (match["unit"] or "").replace("º", "°").replace(" ", "").casefold()
        found.append((number, "" if unit in _NOT_UNITS else _ALIASES.get(unit, unit)))
    return found


def same_quantity(truth: str, answer: str) -> bool:
    """Equal numbers and no other unit; after an equals sign only what follows counts. Two numbers are no answer."""
    wanted_number, wanted_unit = quantities(truth)[0]
    stated = quantities(answer.rsplit("=", 1)[-1])
    return bool(stated) and all(number == wanted_number and unit in ("", wanted_unit) for number, unit in stated)
