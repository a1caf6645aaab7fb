"""Switches for what makes compiled functions quick: ``downhill2.config.generated = False``.

Attributes
----------
generated : bool
    Whether a whole graph becomes one generated function if PyTensor's default is its Numba linker; otherwise the
    linker compiles node by node.
products : bool
    Whether matrix products of generated functions call BLAS directly.
parallel : bool
    Whether loops of generated functions over very many elements run on all cores where that is faster.
packed : bool
    Whether many small parameters, and their state, lie in one buffer, which a step updates in one loop.
many : bool
    Whether one call makes many updates if the data is in memory.
"""

generated = True
products = True
parallel = True
packed = True
many = True
