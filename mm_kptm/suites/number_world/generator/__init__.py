"""Generator of Number World.

Scenes of coloured handwritten numbers, a fact graph about them that is redrawn for every world, and questions, captions
and statements in five languages. Everything is a function of a seed, byte for byte the same on every machine.
"""

#: Incremented whenever the output for a seed changes; results of different versions are not comparable.
WORLD_VERSION = "1.0"
