import downhill
import numpy as np
import theano
import theano.tensor as TT
from downhill.first_order import SGD
from downhill.base import Optimizer
from downhill import util

class Signed(SGD):
    def _get_updates_for(self, param, grad):
        yield param, param - self.learning_rate * TT.sgn(grad)

T, B, N, H = 4, 40, 3, 4
rng = np.random.RandomState(0)
seq = rng.randn(T, B, N).astype('f')
tgt = seq.cumsum(axis=0).mean(axis=2).astype('f')

x = TT.tensor3('x', dtype='float32')
y = TT.fmatrix('y')
wi = theano.shared((0.3 * rng.randn(N, H)).astype('f'), name='wi')
wh = theano.shared((0.3 * rng.randn(H, H)).astype('f'), name='wh')
wo = theano.shared((0.3 * rng.randn(H)).astype('f'), name='wo')

def step(x_t, h):
    return TT.tanh(x_t.dot(wi) + h.dot(wh))

hs, upd = theano.scan(step, sequences=[x], outputs_info=[TT.alloc(np.float32(0), x.shape[1], H)])
loss = TT.sqr(hs.dot(wo) - y).mean()

train = downhill.Dataset([seq, tgt], name='train', batch_size=10, iteration_size=2, axis=1, rng=3)
opt = downhill.build('nag', loss=loss, inputs=[x, y], updates=upd)
opt.minimize(train, learning_rate=0.05, momentum=0.9, patience=2, validate_every=2, max_updates=12)
print('nag', loss.eval({x: seq, y: tgt}))
sgn = Signed(loss=loss, inputs=[x, y])
for i, (tm, vm) in enumerate(sgn.iterate(train, learning_rate=0.001, patience=2, max_updates=4)):
    print(i, tm['loss'])
f = theano.function([x, y], loss, updates=list(downhill.build('esgd', loss, inputs=[x, y]).get_updates(learning_rate=0.01)))
print([round(float(f(seq, tgt)), 3) for _ in range(3)])
