"""Data-parallel training: processes, replicated weights (DDP), sharded weights (FSDP)."""
