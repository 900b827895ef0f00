"""Shapes that do not depend on company: how a request gets the same bits alone and among others.

Measured on a CPU (x86, float32, one thread), a row of a plain matrix product has other last bits in a batch of 1, of 2
or 3, and of 4 or more rows; attention of one query has others when its keys are padded to another length. Neither
depends on which *place* a row has among equally many, on the number of queries attended together, or on the values of
the others. So every decoding pass has FIXED_ROWS rows, some of them idle, every expert that runs gets at least as many
(`decoder.py`), keys are padded to multiples and no prefix is attended for several rows at once (`rows.py`), a prompt is
computed in blocks with borders of their own, one block a pass (`core.py`), and tiles are looked at one by one.

The cost, narthex-nano on one busy core, tokens a second free and fixed: 2,200 and 900 for one stream, 6,200 and 5,000
for sixteen.
"""

from __future__ import annotations

FIXED_ROWS = 16  # decoding sequences a pass; more of them take several passes
FIXED_PROMPT = 128  # tokens of a prompt a pass; a prompt's prefix is reused up to a multiple of this
