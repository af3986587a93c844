"""Number World: the embedded benchmark.

Scenes of coloured handwritten numbers, a graph of facts about them that is redrawn from world to world, and questions,
captions and statements in five languages. Everything comes from a seed, byte for byte the same on every machine.
"""

#: Changes whenever the bytes that a seed gives change; results of different versions are not comparable.
WORLD_VERSION = "1.0"
