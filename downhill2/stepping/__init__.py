"""Compiled steps: one by one, many in a call, accumulated; and what happens at an update that is not finite."""
