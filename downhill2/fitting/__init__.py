"""A rule on a problem: its compiled functions, the settings of a run, and the session that makes one."""
