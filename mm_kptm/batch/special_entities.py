"""The first entities of every published table of candidate entities (KnowBERT): padding, unknown, mask and null."""

PADDING, UNKNOWN, MASK, NULL = range(4)  #: their ids
SPECIAL_ENTITIES = ("@@PADDING@@", "@@UNKNOWN@@", "@@MASK@@", "@@NULL@@")  #: their names, in that order
