"""How questions about tables are asked. Slots: {r} and {s}, rows; {c}, the column's head; {t}, a threshold.

HELD_OUT is never trained on: it measures how far understanding carries beyond the words of training.
"""

from __future__ import annotations

TRAINED = {
    "lookup": (
        "What is {c} for {r}?", "{c} of {r}?", "Look up {c} for {r}.", "What does the table say for {r} under {c}?",
        "{r}: what is {c}?", "Give me {c} for {r}.", "Which value of {c} does {r} have?", "Read {c} in row {r}.",
        "What stands in row {r}, column {c}?", "What is the {c} value of {r}?", "Tell me {c} of {r}.",
    ),
    "most": (
        "Which row has the {w} {c}?", "Who or what has the {w} {c}?", "Where is {c} {w}?", "Which one is {w} in {c}?",
        "Name the row with the {w} {c}.", "{c}: which row is {w}?",
    ),
    "count": (
        "How many rows have {c} {p} {t}?", "Count the rows with {c} {p} {t}.", "In how many rows is {c} {p} {t}?",
        "How many values of {c} are {p} {t}?", "How often is {c} {p} {t}?",
    ),
    "which": (
        "Which rows have {c} {p} {t}?", "List the rows with {c} {p} {t}.", "Where is {c} {p} {t}?",
        "Name every row whose {c} is {p} {t}.", "{c} {p} {t}: which rows?",
    ),
    "together": (
        "What do {r} and {s} have together in {c}?", "Add {c} of {r} and {s}.", "{c} of {r} plus {c} of {s}?",
        "Sum of {c} for {r} and {s}?", "How much {c} do {r} and {s} make together?",
    ),
    "total": (
        "What is the total of {c}?", "Add up {c}.", "Sum of {c}?", "How much is {c} in total?",
        "What is the sum of column {c}?", "Total {c}?", "What does column {c} add up to?",
    ),
    "mean": (
        "What is the mean of {c}?", "What is the average {c}?", "Average of {c}?", "Mean {c}?",
        "What is {c} on average?", "Work out the average of column {c}.",
    ),
}  # fmt: skip

HELD_OUT = {
    "lookup": (
        "Going along {r} to {c}, what do you find?", "I need the entry where {r} meets {c}.",
        "Report the {c} figure belonging to {r}.", "For {r}, state {c}.",
    ),
    "most": (
        "Pick the row whose {c} comes out {w}.", "Looking down {c}, what row is {w} of all?",
        "I want the one with the {w} {c}; name it.",
    ),
    "count": (
        "Going through {c}, what number of entries lies {p} {t}?", "Tell me how many rows come {p} {t} in {c}.",
        "Tally the entries in {c} that are {p} {t}.",
    ),
    "which": (
        "Pick out whatever has {c} {p} {t}.", "I am looking for all entries with {c} {p} {t}.",
        "Tell me all that come {p} {t} in {c}.",
    ),
    "together": (
        "Taking {r} with {s}, how much {c} is that?", "Put the {c} of {r} on top of the {c} of {s}: how much?",
        "Combine {r} and {s} in {c}.",
    ),
    "total": (
        "Work out what all of {c} comes to.", "Put every entry of {c} together: how much?",
        "I want the grand total down {c}.",
    ),
    "mean": (
        "Spread evenly over the rows, what is {c}?", "What would {c} be if all rows had the same?",
        "I want the typical {c}, as an arithmetic mean.",
    ),
}  # fmt: skip

MOST, LEAST = ("highest", "largest", "greatest", "most"), ("lowest", "smallest", "least")
OVER, UNDER = ("above", "over", "greater than", "more than"), ("below", "under", "less than", "smaller than")
