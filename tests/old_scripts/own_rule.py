import downhill
import numpy as np
import theano
import theano.tensor as TT
from downhill.first_order import SGD
from downhill.util import as_float, shared_like

class MyAda(SGD):
    def _prepare(self, decay=0.9, **kwargs):
        self.decay = as_float(decay)
        super(MyAda, self)._prepare(**kwargs)

    def _get_updates_for(self, param, grad):
        s = shared_like(param, 'sq')
        t = self.decay * s + (1 - self.decay) * grad ** 2
        yield s, t
        yield param, param - self.learning_rate * grad / TT.sqrt(t + 1e-6)

w = theano.shared(np.ones(3), name='w')
opt = downhill.build('MyAda', loss=TT.sqr(w).sum())
for tm, vm in opt.iterate(None, learning_rate=0.1, decay=0.8, max_updates=30):
    pass
print(tm['loss'], w.get_value())
