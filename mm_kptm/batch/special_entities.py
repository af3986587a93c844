"""Special entities at the start of every published candidate table (KnowBERT): padding, unknown, mask, null."""

PADDING, UNKNOWN, MASK, NULL = range(4)  #: their ids
SPECIAL_ENTITIES = ("@@PADDING@@", "@@UNKNOWN@@", "@@MASK@@", "@@NULL@@")  #: their names, in that order
