"""Arithmetic as written by hand, digit by digit, so that a small model can learn its every step."""

from __future__ import annotations


def written_sum(one: str, two: str) -> str:
    """Addition as written by hand, right to left: "347+85: 7+5=12, 4+8+1=13, 3+1=4, 432."."""
    steps, carry = [], 0
    for place in range(max(len(one), len(two))):
        digits = [int(n[-1 - place]) for n in (one, two) if place < len(n)] + [1] * carry
        total = sum(digits)
        steps.append(f"{'+'.join(map(str, digits))}={total}" if len(digits) > 1 else str(total))
        carry = total // 10
    return f"{one}+{two}: {', '.join(steps)}, {int(one) + int(two)}."


def written_difference(large: str, small: str) -> str:
    """Subtraction as written by hand, right to left, borrowing ten: "83-47: 13-7=6, 8-1-4=3, 36."; large >= small."""
    steps, borrowed = [], 0
    for place in range(len(large)):
        top = int(large[-1 - place])
        taken = [int(small[-1 - place])] if place < len(small) else []
        taken += [1] * borrowed
        borrowed = int(top < sum(taken))
        top += 10 * borrowed
        shown = "".join(f"-{digit}" for digit in taken)
        steps.append(f"{top}{shown}={top - sum(taken)}" if taken else str(top))
    return f"{large}-{small}: {', '.join(steps)}, {int(large) - int(small)}."


def written_product(many: str, few: int) -> str:
    """Multiplication by one figure as written by hand, right to left: "47*6: 7*6=42, 4*6+4=28, 282."."""
    steps, carry = [], 0
    for figure in reversed(many):
        total = int(figure) * few + carry
        steps.append(f"{figure}*{few}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return f"{many}*{few}: {', '.join(steps)}, {int(many) * few}."
