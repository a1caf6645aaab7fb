"""What outlives a process: checkpoints, the history file, generators as JSON, the lock of a directory."""
