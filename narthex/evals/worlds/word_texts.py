"""How word problems are told. Small slots are numbers; {N} and {M} names; {T} things; {H} what holds them; {P} people;
{big} and {small} units of one measure.

HELD_OUT is never trained on: it measures how far understanding carries beyond the words of training.
"""

from __future__ import annotations

TRAINED = {
    "add": (
        "{N} has {a} {T} and gets {b} more. How many {T} does {N} have now?",
        "{N} counts {a} {T} and {M} counts {b}. How many {T} do they count together?",
        "There are {a} {T} in one room and {b} in another. How many {T} are there?",
        "What is {a} plus {b}?", "{a} + {b}?", "Add {b} to {a}.",
    ),
    "take": (
        "{N} has {a} {T} and gives {b} to {M}. How many {T} are left?",
        "Of {a} {T}, {b} are sold. How many {T} remain?",
        "{N} needs {a} {T} and has {b}. How many {T} are missing?",
        "What is {a} minus {b}?", "{a} - {b}?", "Take {b} from {a}.",
    ),
    "times": (
        "{a} {H} hold {b} {T} each. How many {T} are there?",
        "{N} packs {b} {T} into each of {a} {H}. How many {T} is that?",
        "There are {a} {H} with {b} {T} in each. How many {T} are there in all?",
        "What is {a} times {b}?", "Multiply {a} by {b}.",
    ),
    "share": (
        "{a} {T} are shared equally among {b} {P}. How many {T} does each get?",
        "{N} puts {a} {T} into {b} {H}, the same number in each. How many {T} go into one?",
        "How many {T} does each of {b} {P} get from {a} {T}?", "What is {a} divided by {b}?", "Divide {a} by {b}.",
    ),
    "change": (
        "{N} buys {a} {T} at {b} euros each and pays with {c} euros. How many euros come back?",
        "{a} {T} cost {b} euros each. {N} pays {c} euros. How much is the change?",
        "One of the {T} costs {b} euros. {N} takes {a} and gives {c} euros. How many euros does {N} get back?",
    ),
    "two_kinds": (
        "{N} buys {a} {T} at {b} euros and {c} {U} at {d} euros each. How many euros is that?",
        "{a} {T} cost {b} euros each, {c} {U} cost {d} euros each. What do they cost together?",
        "What do {a} {T} at {b} euros and {c} {U} at {d} euros cost in all?",
    ),
    "in_and_out": (
        "{N} has {a} {T}, gets {b} more and gives {c} away. How many {T} are left?",
        "A shop has {a} {T}. {b} arrive and {c} are sold. How many {T} are there now?",
        "There were {a} {T}. {b} were added, then {c} were taken. How many {T} remain?",
    ),
    "mean": (
        "{N} counts {a}, {b} and {c} {T} on three days. How many {T} is that a day on average?",
        "What is the mean of {a}, {b} and {c}?", "Three {H} hold {a}, {b} and {c} {T}. What is the average?",
    ),
    "left_each": (
        "Of {a} {T}, {b} break. The rest are shared equally among {c} {P}. How many {T} does each get?",
        "{N} keeps {b} of {a} {T} and shares the others equally among {c} {P}. How many {T} does each get?",
        "{a} {T} less {b} go evenly into {c} {H}. How many {T} go into one?",
    ),
    "percent": (
        "What is {a} % of {b}?", "{a} percent of {b} {T} are sold. How many {T} is that?",
        "Of {b} {P}, {a} % come. How many come?", "How much is {a} percent of {b}?",
    ),
    "discount": (
        "A coat costs {b} euros and becomes {a} % cheaper. How many euros does it cost now?",
        "{N} gets {a} percent off a price of {b} euros. How many euros does {N} pay?",
        "A price of {b} euros falls by {a} %. What is the new price in euros?",
    ),
    "fence": (
        "A field is {a} m long and {b} m wide. How many m of fence go around it?",
        "A room is {a} m by {b} m. How long are its walls together, in m?",
        "What is the perimeter of a rectangle of {a} m by {b} m, in m?",
    ),
    "way": (
        "A train runs {a} km an hour for {b} hours. How many km does it go?",
        "{N} rides {b} hours at {a} km per hour. How far is that in km?",
        "At {a} km per hour, how many km are covered in {b} hours?",
    ),
    "down": (
        "How many {small} are {a} {big}?", "{a} {big} in {small}?", "Convert {a} {big} to {small}.",
        "What is {a} {big} in {small}?", "{N} notes {a} {big}. How many {small} is that?",
    ),
    "mixed": (
        "How many {small} are {a} {big} and {b} {small}?", "{a} {big} {b} {small} in {small}?",
        "Convert {a} {big} {b} {small} to {small}.", "{N} notes {a} {big} and {b} {small}. How many {small} is that?",
    ),
    "up": (
        "How many {big} are {a} {small}?", "{a} {small} in {big}?", "Convert {a} {small} to {big}.",
        "What is {a} {small} in {big}?", "{N} notes {a} {small}. How many {big} is that?",
    ),
    "cut": (
        "A rope is {a} m long. {b} pieces of {c} cm are cut off. How many cm are left?",
        "From {a} m of cloth {N} cuts {b} strips of {c} cm. How many cm remain?",
        "{N} saws {b} times {c} cm off a board of {a} m. How many cm of it are left?",
    ),
    "pump": (
        "A pump gives {a} L a minute. How many L does it give in {b} hours?",
        "{a} L run in every minute. How many L is that in {b} hours?",
        "How many L flow in {b} hours at {a} L per minute?",
    ),
    "weigh": (
        "{a} {T} weigh {b} g each. How many kg do they weigh together?",
        "One of the {T} weighs {b} g. How many kg do {a} weigh?", "What do {a} {T} of {b} g each weigh, in kg?",
    ),
}  # fmt: skip

HELD_OUT = {
    "add": ("With {b} {T} coming on top of {a}, what number of {T} results?", "Find {b} more than {a}."),
    "take": ("Once {b} of the {a} {T} are gone, what number stays?", "By how much does {a} exceed {b}?"),
    "times": ("If every one of {a} {H} carries {b} {T}, what do all carry?", "Work out {a} lots of {b}."),
    "share": ("Dealing {a} {T} out evenly to {b} {P}, what is one share?", "How often does {b} fit into {a}?"),
    "change": ("Out of {c} euros {N} pays for {a} {T}, {b} euros apiece. What stays in the purse, in euros?",),
    "two_kinds": ("A bill lists {a} {T}, {b} euros apiece, and {c} {U}, {d} euros apiece. What sum does it show?",),
    "in_and_out": ("From a stock of {a} {T}, after {b} come in and {c} go out, what number stays?",),
    "mean": ("Levelled out, what would {a}, {b} and {c} each become?",),
    "left_each": ("After losing {b} of {a} {T}, {N} deals the others out evenly to {c} {P}. What is one share?",),
    "percent": ("Out of every hundred of {b}, take {a}: what does that make?",),
    "discount": ("Knock {a} % off {b} euros: what has to be paid?",),
    "fence": ("Walking once around a yard of {a} m by {b} m, how many m is that?",),
    "way": ("After {b} hours at a steady {a} km per hour, what distance in km lies behind {N}?",),
    "down": ("Express {a} {big} using {small}.", "Put {a} {big} another way, in {small}."),
    "mixed": ("Express {a} {big} plus {b} {small} using {small} alone.",),
    "up": ("Express {a} {small} using {big}.", "Put {a} {small} another way, in {big}."),
    "cut": ("Shorten {a} m of wire by {b} bits, {c} cm apiece: what length in cm stays?",),
    "pump": ("A tap lets out {a} L each minute; left on for {b} hours, what does it let out, in L?",),
    "weigh": ("Put {a} {T} on the scales, {b} g apiece: what does it show in kg?",),
}  # fmt: skip

THINGS = (
    "apples", "books", "tickets", "shells", "stamps", "pens", "cards", "beads", "nails", "plates", "cups", "tiles",
    "bricks", "coins", "eggs", "keys", "lamps", "chairs", "stones", "seeds", "pears", "rolls", "balls", "discs",
)  # fmt: skip
HOLDERS = ("boxes", "bags", "crates", "trays", "baskets", "carts", "cases", "jars")
PEOPLE = ("children", "friends", "teams", "workers", "guests", "pupils")
# Names and things of a world that is never trained on.
UNSEEN_NAMES = ("Olga", "Hugo", "Petra", "Yusuf", "Wendy", "Bruno", "Chloe", "Ravi", "Greta", "Omar", "Freya", "Luca")
UNSEEN_THINGS = ("kites", "mugs", "candles", "ropes", "melons", "badges", "ladders", "pillows", "drums", "maps")
UNSEEN_HOLDERS = ("barrels", "drawers", "sacks", "chests")
UNSEEN_PEOPLE = ("singers", "sailors", "nurses", "players")
