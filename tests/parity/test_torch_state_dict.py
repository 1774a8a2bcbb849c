"""Checkpoints of torch: read in its layout, by its names, and audited as torch's."""

import os

import numpy as np
import pytest

from jinit.audit._checkpoints import read_checkpoint
from jinit.diagnostics import audit

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

nn = torch.nn


class Block(nn.Module):
    """A residual block as torchvision has it, in torch's own defaults."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(32, 48, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(48)
        self.downsample = nn.Sequential(nn.Conv2d(32, 48, 1), nn.BatchNorm2d(48))


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(90, 48)
        self.lstm = nn.LSTM(48, 40, num_layers=2, bidirectional=True)
        self.gru = nn.GRUCell(48, 40)
        self.norm, self.act = nn.LayerNorm(80), nn.PReLU()
        self.head = nn.Linear(80, 90, bias=False)


class Tables(nn.Module):
    """Embeddings whose names do not tell, beside a linear layer of such a shape."""

    def __init__(self):
        super().__init__()
        self.items, self.users = nn.Embedding(90, 48), nn.Embedding(60, 48, 0)
        self.mix, self.out = nn.Bilinear(48, 40, 20), nn.Linear(48, 64, bias=False)


MODELS = {
    "perceptron": lambda: nn.Sequential(nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 9)),
    "convolutions": Block,
    "grouped": lambda: nn.Sequential(
        nn.Conv2d(32, 64, 3, groups=4), nn.Conv1d(8, 8, 9)
    ),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(48, 32, 3)),
    "attention": lambda: nn.TransformerEncoderLayer(64, 4, 128),
    "decoder": lambda: nn.TransformerDecoderLayer(64, 4, 128),
    "transformer": lambda: nn.Transformer(48, 4, 1, 1, 96, batch_first=True),
    "tables": Tables,
    "language": Language,
}


def saved(model, folder):
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez(folder / "model.npz", **arrays)
    return read_checkpoint(folder / "model.npz")


@pytest.mark.parametrize("name", MODELS)
def test_what_torch_draws_has_no_finding(name, tmp_path):
    torch.manual_seed(0)
    params = saved(MODELS[name](), tmp_path)
    for rules in ("torch", None):
        report = audit(params, rules)
        assert report.findings == ()
        assert report.notes == ()
    compared = [leaf for leaf in audit(params, "torch").leaves if leaf.init]
    assert len(compared) >= len(params) - 2


@pytest.mark.parametrize("name", MODELS)
def test_one_weight_of_half_the_deviation_is_found(name, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name]()
    weights = [n for n, w in model.named_parameters() if w.ndim > 1]
    with torch.no_grad():
        model.get_parameter(weights[0]).mul_(0.5)
    found = audit(saved(model, tmp_path), "torch").findings
    assert [(finding.path, finding.kind) for finding in found] == [(weights[0], "std")]


@pytest.mark.parametrize("name", ["perceptron", "tables", "transformer"])
def test_a_state_dict_is_compared_wherever_in_a_tree_it_is(name):
    model = MODELS[name]()
    state = {path: w.numpy() for path, w in model.state_dict().items()}
    alone = [leaf.init for leaf in audit(state, "torch").leaves]
    for prefix in ("module.", "_orig_mod."):
        prefixed = {prefix + path: w for path, w in state.items()}
        assert [leaf.init for leaf in audit(prefixed, "torch").leaves] == alone
    nested = audit({"state_dict": state, "epoch": 3}, "torch")
    assert [leaf.init for leaf in nested.leaves] == alone
    assert nested.findings == ()


def test_layers_that_torch_copied_have_that_as_their_cause():
    layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=True)
    model = nn.TransformerEncoder(layer, 2)
    state = {path: w.numpy() for path, w in model.state_dict().items()}
    for rules in ("torch", None):
        (found,) = audit(state, rules).findings
        assert (found.path, found.kind) == ("layers.1", "equal")
        assert "torch.nn.TransformerEncoder" in found.cause


def test_the_defaults_of_torch_are_named_where_others_were_meant(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))
    with torch.no_grad():
        for layer in model:
            nn.init.xavier_uniform_(layer.weight)
    found = audit(saved(model, tmp_path), "torch").findings
    assert len(found) == 4
