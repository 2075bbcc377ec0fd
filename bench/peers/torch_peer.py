"""A plain PyTorch loop. `python torch_peer.py WORK FOLDER [--compile]`."""

import pathlib
import sys
import time

import commands

import torch
from torch import nn
from torch.nn import functional as F

import arrays
import works


class LastState(nn.Module):
    """An LSTM of which only the last state goes on."""

    def __init__(self, inputs, units):
        super().__init__()
        self.cell = nn.LSTM(inputs, units, batch_first=True)
        # PyTorch has a second bias, which would be trained too.
        self.cell.bias_hh_l0.requires_grad_(False)

    def forward(self, x):
        return self.cell(x)[0][:, -1]


def build(work, weights):
    """The model up to the logits, with these weights."""
    given = iter(torch.from_numpy(array) for array in weights.values())
    layers = []
    for options in work["layers"]:
        kind = options["type"]
        if kind == "dense":
            weight, bias = next(given), next(given)
            layer = nn.Linear(*weight.shape)
            assign(layer.weight, weight.T)
            assign(layer.bias, bias)
        elif kind == "conv2d":
            weight, bias = next(given), next(given)
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], options["kernel_size"])
            assign(layer.weight, weight)
            assign(layer.bias, bias)
        elif kind == "lstm":
            kernel, recurrent, bias = next(given), next(given), next(given)
            # The gates' order is Keras'.
            layer = LastState(kernel.shape[0], options["units"])
            assign(layer.cell.weight_ih_l0, kernel.T)
            assign(layer.cell.weight_hh_l0, recurrent.T)
            assign(layer.cell.bias_ih_l0, bias)
            assign(layer.cell.bias_hh_l0, torch.zeros_like(bias))
        elif kind == "max_pooling2d":
            layer = nn.MaxPool2d(options["pool_size"])
        elif kind == "flatten":
            layer = nn.Flatten()
        else:
            raise ValueError(f"layer type `{kind}` is not known here; add it to build")
        layers.append(layer)
        if options.get("activation") == "relu":
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def assign(parameter, values):
    with torch.no_grad():
        parameter.copy_(values)


def optimizer(options, parameters):
    # `fused`: one pass over the parameters, the fastest that PyTorch has on a CPU.
    if options["type"] == "sgd":
        return torch.optim.SGD(
            parameters, options["learning_rate"], options["momentum"], fused=True
        )
    return torch.optim.Adam(
        parameters, options["learning_rate"], eps=options["epsilon"], fused=True
    )


def epoch(training, validating, steps, digits):
    """Sums over samples stay tensors until the end, as in the other loops."""
    logs = {}
    for prefix, part in (("", "train"), ("val_", "valid")):
        x, y = digits[f"x_{part}"], digits[f"y_{part}"]
        loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for start in range(0, len(x), works.BATCH):
            rows, labels = x[start : start + works.BATCH], y[start : start + works.BATCH]
            if part == "train":
                steps.zero_grad(set_to_none=True)
                logits, loss = training(rows, labels)
                loss.backward()
                steps.step()
            else:
                with torch.no_grad():
                    logits, loss = validating(rows, labels)
            loss_sum += loss.detach() * len(rows)
            correct += (logits.detach().argmax(1) == labels).sum()
        logs[f"{prefix}loss"] = loss_sum.item() / len(x)
        logs[f"{prefix}accuracy"] = correct.item() / len(x)
    return logs


def main():
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    work = works.WORKS[name]
    torch.set_num_threads(2)
    torch.set_num_interop_threads(1)
    torch.set_float32_matmul_precision("highest")
    digits = arrays.load(folder / "digits.safetensors")
    digits = {key: torch.from_numpy(array) for key, array in digits.items()}
    for part in ("x_train", "x_valid"):
        digits[part] = digits[part].reshape(-1, *work["input"])
    model = build(work, arrays.load(folder / f"{name}.safetensors"))

    def loss(x, y):
        logits = model(x)
        return logits, F.cross_entropy(logits, y)

    def probabilities(x):
        return model(x).softmax(1)

    training = validating = loss
    if "--compile" in sys.argv:
        # Shapes are fixed, but for the last batch of a part: compiled once for each.
        training = validating = torch.compile(loss, dynamic=False)
        probabilities = torch.compile(probabilities, dynamic=False)

    commands.ready(torch=torch.__version__)
    if works.kind(name) == "predict":
        model.eval()
        row = digits["x_valid"][:1].clone().numpy()
        with torch.inference_mode():
            commands.serve_predictions(lambda: probabilities(torch.from_numpy(row))[0].numpy())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps = optimizer(work["optimizer"], trained)
    while True:
        commands.wait_for_epoch()
        began = time.perf_counter()
        logs = epoch(training, validating, steps, digits)
        commands.answer(seconds=time.perf_counter() - began, **logs)


main()
