"""How questions about charts are asked. Slots: {a} and {b}, labels; {n}, bar or point or slice; {w}, higher or the
like; {u}, the unit.

HELD_OUT is never trained on: it measures how far understanding carries beyond the words of training.
"""

from __future__ import annotations

TRAINED = {
    "read": (
        "What does {n} {a} show?", "Read {a}.", "{a}?", "What is the value of {a}?", "How much is {a}?",
        "What value does {a} have?", "How many {u} is {a}?", "Tell me the value at {a}.", "Give me {a}.",
        "What is {a} in this chart?", "Look at {n} {a}. What does it read?", "What number goes with {a}?",
        "How many {u} does {n} {a} show?", "What is the reading at {a}?", "The value of {a}, please.",
    ),
    "pair": (
        "Which is {w}, {a} or {b}?", "Which is {w}: {a} or {b}?", "{a} or {b}, which is {w}?", "Is {a} or {b} {w}?",
        "Which {n} is {w}, {a} or {b}?", "Compare {a} and {b}. Which is {w}?", "{w}: {a} or {b}?",
        "Of {a} and {b}, which is {w}?", "Which one is {w}, {a} or {b}?",
    ),
    "best": (
        "Which {n} is the {w}?", "Which is the {w}?", "What is the {w} {n}?", "Which {n} has the {w} value?",
        "Where is the {w} value?", "Name the {w} {n}.", "Which label has the {w} {n}?", "{w} {n}?",
    ),
    "difference": (
        "What is the difference between {a} and {b}?", "How far apart are {a} and {b}?", "Difference of {a} and {b}?",
        "By how much do {a} and {b} differ?", "How much lies between {a} and {b}?", "{a} and {b}: what difference?",
        "How many {u} are between {a} and {b}?", "Find the difference between {a} and {b}.",
    ),
    "change": (
        "Is it rising or falling from {a} to {b}?", "From {a} to {b}: rising or falling?",
        "Rising or falling between {a} and {b}?", "Does it rise or fall from {a} to {b}?",
        "How does it move from {a} to {b}: rising or falling?", "{a} to {b}: does it rise or fall?",
    ),
    "overall": (
        "What is the trend: rising, falling or flat?", "Is the trend rising, falling or flat?", "What is the trend?",
        "Which way does it go overall?", "Describe the trend in one word.", "Does it rise, fall or stay flat?",
        "Trend?", "How does it develop: rising, falling or flat?",
    ),
}  # fmt: skip

HELD_OUT = {
    "read": (
        "Going by the chart, how big is {a}?", "I need the figure for {a}.", "State what is charted for {a}.",
        "Please report {a}.", "What figure belongs to the {n} labelled {a}?", "{a} stands at what?",
    ),
    "pair": (
        "Between {a} and {b}, pick the {w} one.", "I have {a} and {b}; name whichever is {w}.",
        "Tell me which of {a} and {b} turns out {w}.", "Who is {w} here: {a}, or rather {b}?",
    ),
    "best": (
        "Pick out the {w} {n} of all.", "Of everything charted, what comes out {w}?", "Tell me the {w} one.",
        "I am looking for the {w} {n}; which is it?",
    ),
    "difference": (
        "Subtract the smaller of {a} and {b} from the other.", "What gap separates {a} from {b}?",
        "How much would close the gap between {a} and {b}?", "Work out how much {a} and {b} are apart.",
    ),
    "change": (
        "Starting at {a} and ending at {b}, has it been rising or falling?", "Did things go up or down, {a} to {b}?",
        "Comparing {b} with {a} before it: up or down?", "Tell me whether it climbed or dropped from {a} to {b}.",
    ),
    "overall": (
        "Over the whole chart, are things going up, going down or staying level?", "Sum up the course in a word.",
        "From left to right, what direction do the values take?", "Up, down or steady on the whole?",
    ),
}  # fmt: skip

# What {w} may be, most and least, by the chart's shape ("rows" are bars that lie).
COMPARATIVES = {
    "bars": (("higher", "lower"), ("larger", "smaller"), ("taller", "shorter"), ("greater", "smaller")),
    "rows": (("longer", "shorter"), ("larger", "smaller"), ("greater", "smaller"), ("higher", "lower")),
    "line": (("higher", "lower"), ("higher", "lower"), ("greater", "smaller")),
    "pie": (("larger", "smaller"), ("bigger", "smaller"), ("greater", "smaller")),
}
SUPERLATIVES = {
    "higher": "highest", "lower": "lowest", "larger": "largest", "smaller": "smallest", "taller": "tallest",
    "shorter": "shortest", "longer": "longest", "greater": "greatest", "bigger": "biggest",
}  # fmt: skip
NOUNS = {"bars": "bar", "rows": "bar", "line": "point", "pie": "slice"}
