"""Methods of knowledge injection, one file each; ``knowledge.kind`` in an experiment file chooses one."""
