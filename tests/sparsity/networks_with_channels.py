"""Small networks of every kind whose channels can be removed."""

from pruneflow.runtime import backend

NETWORKS = {}


def network(build):
    """Register what builds the layers of a network."""
    NETWORKS[build.__name__] = lambda: build(backend.keras(), backend.keras().layers)
    return build


@network
def cnn(keras, layers):
    i = keras.Input((12, 12, 1))
    x = layers.Conv2D(8, 3, activation="relu", name="a")(i)
    x = layers.BatchNormalization()(layers.MaxPooling2D()(x))
    x = layers.Flatten()(layers.Conv2D(6, 3, activation="relu", name="b")(x))
    x = layers.Dense(10, activation="relu", name="c")(x)
    return keras.Model(i, layers.Dense(4, activation="softmax", name="d")(x))


@network
def residual(keras, layers):
    i = keras.Input((8, 8, 3))
    a = layers.Conv2D(8, 3, padding="same", name="a")(i)
    x = layers.ReLU()(layers.BatchNormalization()(a))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="b")(x))
    x = layers.Conv2D(6, 3, name="c")(layers.ReLU()(layers.Add()([a, x])))
    return keras.Model(i, layers.Dense(3, name="d")(layers.GlobalAveragePooling2D()(x)))


@network
def mobilenet(keras, layers):
    made = keras.applications.MobileNetV2
    return made(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=4, classifier_activation=None)


@network
def mobilenet_inside(keras, layers):
    made = keras.applications.MobileNetV2
    i = keras.Input((32, 32, 3))
    x = made(input_shape=(32, 32, 3), alpha=0.35, weights=None, include_top=False)(i)
    return keras.Model(i, layers.Dense(4, name="d")(layers.GlobalAveragePooling2D()(x)))


@network
def nested(keras, layers):
    j = keras.Input((5, 6))
    inner = keras.Model(j, layers.Conv1D(7, 2, activation="relu", name="b")(j), name="inner")
    row = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(6)], name="row")
    i = keras.Input((5, 4))
    x = layers.Flatten()(row(inner(layers.Dense(6, name="a")(i))))
    return keras.Model(i, layers.Dense(2, name="d")(x))


@network
def lstm(keras, layers):
    i = keras.Input((6,), dtype="int32")
    x = layers.LSTM(6, return_sequences=True, name="b")(layers.Embedding(20, 8, name="a")(i))
    return keras.Model(i, layers.Dense(1, activation="sigmoid", name="d")(layers.LSTM(5, name="c")(x)))


@network
def bidirectional(keras, layers):
    i = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=True, name="a")(i)
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="b")(x)
    x = layers.Bidirectional(layers.GRU(4), merge_mode="sum", name="c")(x)
    return keras.Model(i, layers.Dense(3, name="d")(x))


@network
def gru(keras, layers):
    i = keras.Input((6, 4))
    x = layers.GRU(6, return_sequences=True, reset_after=False, name="a")(i)
    x, state = layers.GRU(6, return_sequences=True, return_state=True, name="b")(x)
    x = layers.SimpleRNN(6, name="c")(x, initial_state=state)
    return keras.Model(i, layers.Dense(3, name="d")(x))


@network
def concatenate(keras, layers):
    i = keras.Input((8, 8, 3))
    parts = [layers.Conv2D(6, 3, padding="same", name="a")(i), layers.Conv2D(8, 1, name="b")(i)]
    other = layers.Conv2D(14, 3, padding="same", name="c")(i)
    x = layers.Add()([layers.Concatenate()(parts), other])
    return keras.Model(i, layers.Dense(4, name="d")(layers.Flatten()(x)))


@network
def squeeze_excite(keras, layers):
    i = keras.Input((8, 8, 3))
    a = layers.Conv2D(8, 3, name="a")(i)
    x = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(a))
    x = layers.Dense(8, activation="sigmoid", name="c")(layers.Dense(4, activation="relu", name="b")(x))
    return keras.Model(i, layers.Dense(3, name="d")(layers.Flatten()(layers.Multiply()([a, x]))))


@network
def separable(keras, layers):
    i = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(10, 3, depth_multiplier=2, name="b")(layers.Conv2D(8, 3, name="a")(i))
    return keras.Model(i, layers.Dense(3, name="d")(layers.Flatten()(x)))


@network
def depthwise(keras, layers):
    i = keras.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="b")(layers.Conv2D(8, 3, name="a")(i))
    return keras.Model(i, layers.Dense(3, name="d")(layers.PReLU()(layers.Flatten()(x))))


@network
def transposed(keras, layers):
    i = keras.Input((8, 8, 3))
    x = layers.Conv2DTranspose(6, 3, strides=2, name="b")(layers.Conv2D(8, 3, strides=2, name="a")(i))
    x = layers.UpSampling2D()(layers.ZeroPadding2D()(layers.Cropping2D()(x)))
    return keras.Model(i, layers.Conv2D(2, 1, name="d")(x))


@network
def grouped(keras, layers):
    i = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, groups=2, name="b")(layers.Conv2D(8, 3, name="a")(i))
    x = layers.Conv2D(16, 1, groups=8, name="e")(layers.Conv2D(8, 1, name="c")(x))
    return keras.Model(i, layers.Dense(3, name="d")(layers.Flatten()(x)))


@network
def attention(keras, layers):
    i = keras.Input((6,), dtype="int32")
    e = layers.Embedding(20, 12, name="a")(i)
    x = layers.Add()([e, layers.MultiHeadAttention(4, 5, value_dim=6, name="b")(e, e)])
    x = layers.Dense(12, name="e")(layers.Dense(10, activation="relu", name="c")(x))
    return keras.Model(i, layers.Dense(2, name="d")(layers.GlobalAveragePooling1D()(x)))


@network
def transformer(keras, layers):
    i = keras.Input((6,), dtype="int32")
    e = layers.Embedding(20, 12, name="a")(i)
    x = layers.LayerNormalization(name="n")(
        layers.Add()([e, layers.MultiHeadAttention(4, 5, name="b")(e, e)])
    )
    x = layers.Dense(12, name="e")(layers.Dense(10, activation="relu", name="c")(x))
    return keras.Model(i, layers.Dense(2, name="d")(x))


@network
def shared(keras, layers):
    i, j = keras.Input((6,)), keras.Input((6,))
    first, second = layers.Dense(6, name="a"), layers.Dense(8, activation="relu", name="b")
    x = layers.Concatenate()([second(first(i)), second(first(j))])
    return keras.Model([i, j], layers.Dense(2, name="d")(x))


@network
def reshaped(keras, layers):
    i = keras.Input((8, 8, 3))
    x = layers.Reshape((8, 48))(layers.Conv2D(6, 3, padding="same", name="a")(i))
    return keras.Model(i, layers.Dense(2, name="d")(layers.LSTM(5, name="b")(x)))


@network
def generator(keras, layers):
    i = keras.Input((5,))
    x = layers.Reshape((4, -1, 6))(layers.Dense(48, activation="relu", name="a")(i))
    x = layers.Permute((3, 1, 2))(layers.Conv2DTranspose(5, 2, name="b")(x))
    return keras.Model(i, layers.Dense(2, name="d")(layers.Flatten()(x)))


@network
def time_distributed(keras, layers):
    steps = keras.Sequential([layers.Conv2D(6, 3, name="a"), layers.Flatten(), layers.Dense(7, name="b")])
    i = keras.Input((4, 8, 8, 2))
    x = layers.TimeDistributed(layers.Dense(6, name="c"))(layers.TimeDistributed(steps)(i))
    x = layers.GlobalMaxPooling1D()(layers.Conv1D(5, 2, name="e")(x))
    return keras.Model(i, layers.Dense(2, name="d")(layers.RepeatVector(3)(x)))


@network
def operators(keras, layers):
    i = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="a")(i)
    x = x * backend.tensorflow().nn.relu6(x + 3.0) * (1 / 6.0)
    return keras.Model(i, layers.Dense(2, name="d")(layers.Flatten()(x)))


@network
def masked_steps(keras, layers):
    i, steps = keras.Input((6, 4)), keras.Input((6,), dtype="bool")
    x = layers.LSTM(6, return_sequences=True, name="b")(layers.Dense(8, name="a")(i), mask=steps)
    x = layers.GlobalAveragePooling1D()(x, mask=steps)
    return keras.Model([i, steps], layers.Dense(2, name="d")(x))


@network
def with_a_function(keras, layers):
    i = keras.Input((5,))
    x = layers.Lambda(lambda t: t * 2, name="lambda")(layers.Dense(6, name="a")(i))
    return keras.Model(i, layers.Dense(2, name="d")(layers.Dense(5, name="b")(x)))
