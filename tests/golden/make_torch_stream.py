"""Writes torch_stream.json: what torch's CPU generator draws, bit for bit.

    python tests/golden/make_torch_stream.py

Tensors are written as the hexadecimal digits of their bytes, the lowest first.
"""

import contextlib
import json
from pathlib import Path

# Its test imports it before it is skipped where there is no torch.
with contextlib.suppress(ModuleNotFoundError):
    import torch

PATH = Path(__file__).with_name("torch_stream.json")

SEEDS = (0, 42, 2**64 - 1)
DTYPES = ("float32", "bfloat16", "float16", "float64")
MATRIX, VECTOR, FEW, KERNEL = (6, 7), (37,), (3,), (6, 4, 3, 2)

# One after another, as torch.nn.init names them; those of few elements leave a normal
# number to spare, which the next one of them uses.
SEQUENCE = (
    ("uniform_", VECTOR, {"a": -0.37, "b": 1.9}),
    ("normal_", FEW, {}),
    ("normal_", VECTOR, {"mean": 0.1, "std": 0.02}),
    ("uniform_", FEW, {"a": 1000.0, "b": 1001.0}),
    ("trunc_normal_", MATRIX, {}),
    ("trunc_normal_", MATRIX, {"mean": 0.7123, "std": 1.3, "a": 2.0, "b": 3.0}),
    ("normal_", FEW, {"std": 3.0}),
    ("xavier_uniform_", KERNEL, {"gain": 5 / 3}),
    ("xavier_normal_", MATRIX, {}),
    ("kaiming_uniform_", MATRIX, {"a": 5**0.5}),
    ("kaiming_normal_", KERNEL, {"mode": "fan_out", "nonlinearity": "relu"}),
    ("sparse_", MATRIX, {"sparsity": 0.3}),
    ("uniform_", (), {}),
)
ORTHOGONAL = ("orthogonal_", MATRIX, {"gain": 1.5})

# The functions of torch itself, one after another.
FUNCTIONS = (
    ("randperm", (37,)),
    ("randint", (-5, 7, VECTOR)),
    ("randint", (-(2**31), 2**31, FEW)),
    ("bernoulli", ([[0.0, 0.3, 0.5], [0.7, 0.9, 1.0]],)),
)

# Ours by name, with its arguments, and torch's with its own.
LAYERS = (
    ("linear", (6, 5), {}, "Linear", (6, 5), {}),
    ("conv", (6, 4, (3, 2)), {"groups": 2}, "Conv2d", (6, 4, (3, 2)), {"groups": 2}),
    ("conv_transpose", (3, 4, (3, 2)), {}, "ConvTranspose2d", (3, 4, (3, 2)), {}),
    ("embedding", (7, 5), {"padding_idx": 2}, "Embedding", (7, 5, 2), {}),
    ("lstm_cell", (3, 4), {}, "LSTMCell", (3, 4), {}),
    ("gru_cell", (3, 4), {}, "GRUCell", (3, 4), {}),
    ("rnn_cell", (3, 4), {}, "RNNCell", (3, 4), {}),
    ("multihead_attention", (6, 2), {}, "MultiheadAttention", (6, 2), {}),
    (
        *("transformer_encoder_layer", (4, 2, 8), {}),
        *("TransformerEncoderLayer", (4, 2, 8), {}),
    ),
    (
        *("transformer", (4, 2, 2, 1, 8), {}),
        *("Transformer", (4, 2, 2, 1, 8), {"batch_first": True}),
    ),
)


def golden():
    """The whole of torch_stream.json, as the dictionary that reading it gives."""
    record = {
        "torch": torch.__version__.split("+")[0],
        "tensors": list(tensors()),
        "layers": list(layers()),
        "functions": list(functions()),
        "spectral_norm": spectral_norm(),
        "state": list(state()),
    }
    return json.loads(json.dumps(record))


def digits(tensor):
    return (
        tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes().hex()
    )


def tensors():
    """For each seed and dtype all of the sequence."""
    for seed in SEEDS:
        for dtype in DTYPES:
            torch.manual_seed(seed)
            orthogonal = (ORTHOGONAL,) if dtype in ("float32", "float64") else ()
            draws = [
                draw(dtype, *call) for call in (*SEQUENCE, *orthogonal, SEQUENCE[-1])
            ]
            yield {"seed": seed, "dtype": dtype, "draws": draws}


def draw(dtype, name, shape, options):
    tensor = torch.empty(shape, dtype=getattr(torch, dtype))
    getattr(torch.nn.init, name)(tensor, **options)
    return {"name": name, "shape": shape, "options": options, "bits": digits(tensor)}


def layers():
    """The parameters of a module, and a number that is drawn after it."""
    for name, args, options, module, torch_args, torch_options in LAYERS:
        torch.manual_seed(3)
        built = getattr(torch.nn, module)(*torch_args, **torch_options)
        parameters = {
            key: {"shape": list(value.shape), "bits": digits(value)}
            for key, value in built.named_parameters()
        }
        after = digits(torch.empty(()).uniform_())
        call = {"name": name, "args": args, "options": options}
        yield {**call, "parameters": parameters, "after": after}


def functions():
    """What the functions return."""
    torch.manual_seed(5)
    for name, args in FUNCTIONS:
        given = [torch.tensor(a) if isinstance(a, list) else a for a in args]
        values = getattr(torch, name)(*given).tolist()
        yield {"name": name, "args": args, "values": values}


def spectral_norm():
    """The vector that is kept beside the weight of a layer."""
    torch.manual_seed(3)
    layer = torch.nn.Linear(6, 5)
    u = (
        torch.nn.utils.parametrizations.spectral_norm(layer)
        .parametrizations.weight[0]
        ._u
    )
    return {"shape": list(u.shape), "bits": digits(u)}


def state():
    """A state that has a normal number to spare, and what is drawn from it."""
    torch.manual_seed(7)
    torch.empty(1000).uniform_()
    torch.empty(3).normal_()
    saved = torch.get_rng_state().numpy().tobytes().hex()
    yield {"bits": saved, "normal": digits(torch.empty(2).normal_())}


if __name__ == "__main__":
    lines = json.dumps(golden(), indent=1)
    PATH.write_text(lines + "\n")
