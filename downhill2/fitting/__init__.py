"""From a problem and a rule to a run: what is compiled, what a run is told, survives and leaves behind."""
