"""Pictures of runs: learning curves, gradient norms, paths, range tests, comparisons of algorithms.

They need matplotlib: ``pip install 'downhill2[plot]'``. Each draws in the axes `ax`, or in a new picture, and
returns the axes. If pyplot has been imported, and in IPython and notebooks, pyplot makes the picture: a notebook and
``plt.show()`` show it. Elsewhere it is a `matplotlib.figure.Figure` that only the caller keeps alive:
``ax.figure.savefig('curves.png')``.

Colours are those of Okabe and Ito, which colour-blind eyes can distinguish, without the yellow; each colour has its
own marker, so that pictures can be read in black and white. Training is dashed, validation is solid.
"""

from __future__ import annotations

from .comparison import compare
from .curves import gradient_norms, learning_curves
from .paths import path
from .ranges import range_test

__all__ = ["compare", "gradient_norms", "learning_curves", "path", "range_test"]
