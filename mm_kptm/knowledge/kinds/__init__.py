"""Ways of giving knowledge to an encoder, one file each; an experiment file chooses one by ``knowledge.kind``."""
