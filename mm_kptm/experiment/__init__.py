"""An experiment: its file becomes encoder, knowledge, objectives, task and data, and a run folder."""
