import climate
import downhill
import numpy as np
import theano
import theano.tensor as TT
from sklearn.datasets import load_digits

logging = climate.get_logger('digits')
climate.enable_default_logging()

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype('f')
Y = Y.astype('i')
cut = 1400

x = TT.fmatrix('x')
t = TT.ivector('t')
W = theano.shared(np.zeros((64, 10), 'f'), name='W')
b = theano.shared(np.zeros(10, 'f'), name='b')
p = TT.nnet.softmax(TT.dot(x, W) + b)
xent = TT.nnet.categorical_crossentropy(p, t).mean()
downhill.minimize(
    loss=xent + 1e-3 * TT.sqr(W).mean(),
    train=[X[:cut], Y[:cut]],
    valid=[X[cut:], Y[cut:]],
    params=[W, b],
    inputs=[x, t],
    algo='rmsprop',
    batch_size=50,
    train_batches=5,
    valid_batches=2,
    learning_rate=0.05,
    max_gradient_elem=1,
    patience=0,
    min_improvement=0.01,
    monitors=(('acc', TT.eq(p.argmax(axis=1), t).mean()), ('|W|', abs(W).mean())),
    monitor_gradients=True,
)
logging.info('done')
predict = theano.function([x], p.argmax(axis=1))
print('accuracy', (predict(X[cut:]) == Y[cut:]).mean())
