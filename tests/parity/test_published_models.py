"""Ports of published models, beside the models: the weights that they start from."""

from functools import partial

import numpy as np
import pytest
from helpers import check_units
from published import torch, torchvision, transformers

import jinit
from jinit.torch import Stream

UNITS = 4  # in the last place: what torch's logarithm, sine and cosine differ by


# The ports, as a user would write them: `paths` are those of the
# layers of a Flax model whose names are torch's, in the order of torch.


def resnet18(paths):
    convs = [path for path in paths if "conv" in path or "downsample/0" in path]
    norms = [path for path in paths if "bn" in path or "downsample/1" in path]
    own = partial(Stream.kaiming_normal_, mode="fan_out", nonlinearity="relu")
    layers = [(path, Stream.conv) for path in convs] + [("fc", Stream.linear)]
    layers += [(path, partial(Stream.conv, kernel_=own)) for path in convs]
    return layers + [(path, Stream.layer_norm) for path in norms]


def gpt2(paths, std=0.02, depth=3):
    tables, linear = paths[:2], [path for path in paths if "/c_" in path]
    layers = [(f"{path}/embedding", Stream.normal_) for path in tables]
    own = partial(Stream.normal_, std=std)  # the layout of a kernel is that of Conv1D
    drawn = [(f"{path}/kernel", own) for path in linear]
    layers += drawn + [(f"{path}/embedding", own) for path in tables]
    for path, _ in drawn:
        last = partial(Stream.normal_, std=std / (2 * depth) ** 0.5)
        layers += [(path, own)] + [(path, last)] * ("c_proj" in path)
    layers += [(f"{path}/bias", Stream.zeros_) for path in linear]
    return layers + [(path, Stream.layer_norm) for path in paths if "ln_" in path]


def vit(paths):
    zero, small = Stream.zeros_, partial(Stream.normal_, std=1e-6)
    own = {"kernel_": partial(Stream.trunc_normal_, std=192**-0.5), "bias_": zero}
    mlp = partial(Stream.linear, kernel_=Stream.xavier_uniform_, bias_=small)
    layers = [("conv_proj", Stream.conv), ("class_token", zero)]
    layers += [("encoder/pos_embedding", partial(Stream.normal_, std=0.02))]
    for block in [path.removesuffix("/ln_1") for path in paths if "ln_1" in path]:
        layers += [(f"{block}/self_attention", Stream.multihead_attention)]
        layers += [
            (f"{block}/mlp/{n}", f) for f in (Stream.linear, mlp) for n in (0, 3)
        ]
    layers += [
        ("heads/head", Stream.linear),
        ("conv_proj", partial(Stream.conv, **own)),
    ]
    layers += [("heads/head", partial(Stream.linear, kernel_=zero, bias_=zero))]
    return layers + [(path, Stream.layer_norm) for path in paths if "ln" in path]


def in_flax(module):
    """The parameters of a layer in the layout of Flax."""
    p = {name: w.detach().numpy() for name, w in module.named_parameters()}
    kinds = torch.nn.BatchNorm2d, torch.nn.LayerNorm, torch.nn.Embedding
    if isinstance(module, torch.nn.MultiheadAttention):
        heads, dim = module.num_heads, module.head_dim
        flax = {"out/kernel": p["out_proj.weight"].T.reshape(heads, dim, -1)}
        flax["out/bias"] = p["out_proj.bias"]
        for n, name in enumerate(("query", "key", "value")):
            weight, bias = (
                np.split(p[f"in_proj_{k}"], 3)[n] for k in ("weight", "bias")
            )
            flax[f"{name}/kernel"] = weight.T.reshape(-1, heads, dim)
            flax[f"{name}/bias"] = bias.reshape(heads, dim)
        return flax
    weight = p.pop("weight")
    if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
        return {"kernel": np.moveaxis(weight, (0, 1), (-1, -2)), **p}
    if isinstance(module, torch.nn.Embedding):
        return {"embedding": weight}
    name = "scale" if isinstance(module, kinds) else "kernel"  # of Conv1D as it is
    return {name: weight, **p}


def parameters(model):
    """The paths of the layers, and all parameters by their paths."""
    inner = (torch.nn.MultiheadAttention,)
    layers = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{path}.") for path in layers)
        if isinstance(module, inner) or (
            not inside and not list(module.children()) and list(module.parameters())
        ):
            layers[name] = module
    tree = {
        "/".join([*path.split("."), leaf]): w
        for path, module in layers.items()
        for leaf, w in in_flax(module).items()
    }
    own = {id(w) for module in layers.values() for w in module.parameters()}
    tree |= {
        name.replace(".", "/"): w.detach().numpy()
        for name, w in model.named_parameters()
        if id(w) not in own
    }
    return [path.replace(".", "/") for path in layers], tree


def torch_gpt2():
    sizes = {"n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 50}
    config = {"n_positions": 20, "bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2Model(transformers.GPT2Config(**sizes, **config))


def torch_vit():
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)


MODELS = {
    "resnet18": (torchvision.models.resnet18, resnet18),
    "gpt2": (torch_gpt2, gpt2),
    "vit": (torch_vit, vit),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_port_starts_from_the_weights_of_the_model(name):
    build, port = MODELS[name]
    torch.manual_seed(42)
    paths, theirs = parameters(build())
    after = torch.rand(3).numpy()
    stream = jinit.torch.manual_seed(42)

    ours = jinit.torch.like(theirs, port(paths), stream)

    for path, w in theirs.items():
        normal = not np.array_equal(ours[path], w)
        check_units(ours[path], w, UNITS if normal else 0, abs(w).max())
    np.testing.assert_array_equal(stream.uniform_((3,)), after)
