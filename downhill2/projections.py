"""Sets that parameters are kept in, for the setting `project`."""

from .symbolic.sets import Box, L1Ball, L2Ball, NonNegative, Projection, Simplex, UnitColumns

__all__ = ["Box", "L1Ball", "L2Ball", "NonNegative", "Projection", "Simplex", "UnitColumns"]
