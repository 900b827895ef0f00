"""What an answer says: quantities with their units, whichever way they are written."""

from __future__ import annotations

import re
from decimal import Decimal

_ALIASES = {
    "bars": "bar", "volt": "v", "volts": "v", "amp": "a", "amps": "a", "ampere": "a", "amperes": "a", "watt": "w",
    "watts": "w", "kilopascal": "kpa", "kilopascals": "kpa", "milliamp": "ma", "milliamps": "ma", "percent": "%",
    "c": "°c", "celsius": "°c", "°": "°c", "degrees": "°c", "litre": "l", "litres": "l", "liter": "l", "liters": "l",
    "hertz": "hz", "second": "s", "seconds": "s", "sec": "s", "kilogram": "kg", "kilograms": "kg", "kilos": "kg",
    "gram": "g", "grams": "g", "tonne": "t", "tonnes": "t", "tons": "t", "metre": "m", "metres": "m", "meter": "m",
    "meters": "m", "centimetre": "cm", "centimetres": "cm", "centimeters": "cm", "millimetre": "mm",
    "millimetres": "mm", "millimeters": "mm", "kilometre": "km", "kilometres": "km", "kilometers": "km",
    "minute": "min", "minutes": "min", "mins": "min", "hour": "h", "hours": "h", "hrs": "h", "day": "d", "days": "d",
    "kilowatt": "kw", "kilowatts": "kw", "millilitre": "ml", "millilitres": "ml", "milliliters": "ml",
    "euro": "eur", "euros": "eur", "€": "eur", "dollars": "usd",
}  # fmt: skip
_UNITS = frozenset(_ALIASES.values()) | {"kwh", "rpm", "mg"}
# Words that may follow a number without being a unit.
_NOT_UNITS = frozenset(("on", "at", "is", "in", "and", "for", "as", "of", "to", "now", "here", "shown", "so", "which"))
_NUMBER = re.compile(
    r"(?<![\w.,])(?P<number>[-\u2212]?\d+(?:,\d{3})*(?:\.\d+)?)(?!\d)"  # 347, 4.7, 1,234, and a sign
    r"\s*(?P<unit>[%°º]\s?[A-Za-z]*|[A-Za-z]+)?"
)


def quantities(text: str, also: frozenset[str] = frozenset()) -> list[tuple[Decimal, str]]:
    """The numbers of a text, each with the unit stated behind it ("" if none), in small letters.

    `also`: more words that are no units.
    """
    found = []
    for match in _NUMBER.finditer(text):
        number = Decimal(match["number"].replace(",", "").replace("\u2212", "-"))
        unit = (match["unit"] or "").replace("º", "°").replace(" ", "").casefold()
        found.append((number, "" if unit in _NOT_UNITS or unit in also else _ALIASES.get(unit, unit)))
    return found


def same_quantity(truth: str, answer: str, also: frozenset[str] = frozenset()) -> bool:
    """Equal numbers and no other unit; after an equals sign only what follows counts. Two numbers are no answer.

    Where the truth has no unit, any word may follow that is not a unit known here ("12 visits").
    """
    wanted_number, wanted_unit = quantities(truth)[0]
    stated = quantities(answer.rsplit("=", 1)[-1], also)
    if not wanted_unit:
        stated = [(number, unit if unit in _UNITS else "") for number, unit in stated]
    return bool(stated) and all(number == wanted_number and unit in ("", wanted_unit) for number, unit in stated)
