"""The built-in recipe (`refrain recipe`) as a Keras script. `python digits_keras.py CSV FOLDER`.

CSV: `crates/refrain-data/data/digits.csv.gz`; FOLDER: where log and picture go.
"""

import datetime
import gzip
import json
import os
import pathlib
import sys

import keras
import numpy as np


class StepLRScheduler(keras.callbacks.Callback):
    def __init__(self, factor, step_epochs):
        super().__init__()
        self.factor = factor
        self.step_epochs = step_epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch > 0 and epoch % self.step_epochs == 0:
            self.model.optimizer.learning_rate = (
                float(self.model.optimizer.learning_rate) * self.factor
            )


class JSONTrainingLogger(keras.callbacks.Callback):
    def __init__(self, log_file):
        super().__init__()
        self.log_file = log_file
        self.entries = []

    def on_epoch_end(self, epoch, logs=None):
        entry = {"epoch": epoch + 1, "timestamp": datetime.datetime.now().isoformat()}
        entry |= {name: float(value) for name, value in logs.items()}
        self.entries.append(entry)
        partial = self.log_file.with_suffix(".partial")
        partial.write_text(json.dumps(self.entries, indent=2))
        os.replace(partial, self.log_file)


def plot(log_file, picture):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    logs = json.loads(log_file.read_text())
    epochs = [log["epoch"] for log in logs]
    plt.figure(figsize=(10, 5))
    plt.plot(epochs, [log["loss"] for log in logs], label="Train Loss")
    plt.plot(epochs, [log["val_loss"] for log in logs], label="Val Loss")
    plt.xlabel("Epoch")
    plt.ylabel("Loss")
    plt.legend()
    plt.title("Training Progress (from JSON log)")
    plt.savefig(picture)


def main():
    csv, folder = map(pathlib.Path, sys.argv[1:3])
    keras.utils.set_random_seed(42)
    rows = np.loadtxt(gzip.open(csv, "rt"), delimiter=",", dtype=np.float32)
    x, y = rows[:, :64] / 16, rows[:, 64].astype(int)

    model = keras.Sequential(
        [
            keras.Input([1, 8, 8]),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    log_file = folder / "experiment_log.json"
    early_stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=5, restore_best_weights=True
    )
    model.fit(
        x.reshape(-1, 1, 8, 8),
        y,
        epochs=50,
        batch_size=128,
        validation_split=0.2,
        callbacks=[StepLRScheduler(0.5, 10), JSONTrainingLogger(log_file), early_stopping],
        verbose=2,
    )
    model.save_weights(folder / "model.weights.h5")
    plot(log_file, folder / "training_from_json.png")


main()
