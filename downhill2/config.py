"""Switches of the measures that make compiled functions quick: ``downhill2.config.generated = False``.

Attributes
----------
generated : bool
    Whether a whole graph becomes one generated function where PyTensor's default is its Numba linker; else the
    linker compiles node by node.
products : bool
    Whether matrix products of generated functions call BLAS directly.
parallel : bool
    Whether loops of generated functions over very many elements run on all cores where that pays.
packed : bool
    Whether many small parameters, and their state, lie in one buffer, which a step changes by one loop.
many : bool
    Whether many updates share a call where data is in memory.
"""

generated = True
products = True
parallel = True
packed = True
many = True
