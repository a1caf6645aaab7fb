import climate
import downhill
import numpy as np
import theano
import theano.tensor as TT

climate.enable_default_logging()
FX = theano.config.floatX
rng = np.random.RandomState(4)
basis = rng.randn(6, 40).astype(FX)

def batch():
    return rng.laplace(size=(8, 6)).astype(FX).dot(basis)

x = TT.matrix('x')
enc = theano.shared((0.1 * rng.randn(40, 6)).astype(FX), name='enc')
dec = theano.shared((0.1 * rng.randn(6, 40)).astype(FX), name='dec')
z = TT.tanh(x.dot(enc))
err = TT.sqr(z.dot(dec) - x)
opt = downhill.build('adam', loss=err.mean() + 0.01 * abs(z).mean(),
                     monitors=dict(err=err.mean(), small=(abs(z) < 0.1).mean()))
for n, (tm, vm) in enumerate(opt.iterate(batch, batch, learning_rate=0.01, momentum=0.5,
                                         nesterov=True, max_gradient_norm=5, validate_every=2,
                                         patience=3)):
    if n % 2 == 0:
        print(n, 'train', tm['loss'], 'valid', vm['loss'], opt.learning_rate.eval())
    if n == 4:
        break
print('final', err.mean().eval({x: batch()}))
