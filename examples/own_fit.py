"""Prune a network of your own in a ``fit`` of your own, and write it as a TFLite file."""

from __future__ import annotations

import sys

import numpy as np

import pruneflow  # before TensorFlow: tfmot works with tf_keras


def main(file: str = "small.tflite", epochs: int = 20) -> None:
    """Learn on which side of a plane points lie, with 90 % of the weights zero."""
    import tf_keras as keras

    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 16)).astype(np.float32)
    y = (x @ rng.normal(size=16) > 0).astype(np.int32)
    model = keras.Sequential(
        [keras.layers.Dense(64, activation="relu", input_shape=(16,)), keras.layers.Dense(2)]
    )
    batch_size = 50
    steps = epochs * len(x) // batch_size
    pruned = pruneflow.prune(model, steps=steps, schedule={"final_sparsity": 0.9}, skip="dense_1")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.model.compile("adam", loss, metrics=["accuracy"])
    pruned.model.fit(x, y, batch_size=batch_size, epochs=epochs, callbacks=pruned.callbacks, verbose=0)
    small = pruned.strip()
    zeros = float(np.mean(small.layers[0].get_weights()[0] == 0))
    pruneflow.export(small, file, kind="int8", examples=x[:100])
    print(f"{file}: sparsity {zeros:.3f}, accuracy in Keras {pruned.model.evaluate(x, y, verbose=0)[1]:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
