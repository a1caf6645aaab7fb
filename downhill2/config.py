"""Switches of the measures that make compiled functions quick: ``downhill2.config.generated = False``.

Attributes
----------
generated : bool
    Whether a whole graph becomes one generated function where PyTensor's default is its Numba linker; else the
    linker compiles node by node.
products : bool
    Whether matrix products of generated functions call BLAS directly.
"""

generated = True
products = True
