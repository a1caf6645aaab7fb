"""Pictures of runs: learning curves, gradient norms, paths, range tests, comparisons of algorithms.

They need matplotlib: ``pip install 'downhill2[plot]'``. Each returns the axes it drew in, and draws in those given as
`ax`. Without, it makes a picture. Where pyplot has been imported, or in IPython and notebooks, that is one of
pyplot's: a notebook shows it, and ``plt.show()`` does. Elsewhere it is a `matplotlib.figure.Figure` by itself, which
nothing keeps alive but the caller: ``ax.figure.savefig('curves.png')``.

Colours are those of Okabe and Ito without the yellow, which colour-blind eyes tell apart; each comes with a marker of
its own, so that pictures can be read in black and white. Training is dashed, validation is solid.
"""

from __future__ import annotations

from .comparison import compare
from .curves import gradient_norms, learning_curves
from .paths import path
from .ranges import range_test

__all__ = ["compare", "gradient_norms", "learning_curves", "path", "range_test"]
