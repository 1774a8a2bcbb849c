"""Writes torch_ports.json: torch's models at the start, and as they are trained.

    cd tests && python -m golden.make_torch_ports

Their twins, and what they are trained on, are in tests/ports.py.
"""

import json

import pytest
from ports import DEPTH, HEADS, LENGTH, MODELS, PATH, RATE, SEED, STEPS, WIDTH, WORDS

torch = pytest.importorskip("torch")


def torch_mlp():
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(256, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 5),
    )


def torch_lenet():
    n = torch.nn
    convolutions = [n.Conv2d(1, 4, 3), n.ReLU(), n.MaxPool2d(2)]
    convolutions += [n.Conv2d(4, 6, 3), n.ReLU(), n.MaxPool2d(2)]
    dense = [n.Flatten(), n.Linear(24, 12), n.Tanh(), n.Linear(12, 5)]
    return n.Sequential(*convolutions, *dense)


class TorchViT(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(1, 8, 4, 4)
        self.token = torch.nn.Parameter(torch.randn(1, 1, 8))
        self.places = torch.nn.Parameter(torch.empty(1, 17, 8))
        torch.nn.init.trunc_normal_(self.places, std=0.02)
        options = {"dropout": 0.0, "batch_first": True, "norm_first": True}
        self.layers = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(8, 2, 16, **options) for _ in range(2)
        )
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


class TorchBlock(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = torch.nn.LayerNorm(WIDTH)
        self.c_attn = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.attn_proj = torch.nn.Linear(WIDTH, WIDTH)
        self.ln_2 = torch.nn.LayerNorm(WIDTH)
        self.c_fc = torch.nn.Linear(WIDTH, 4 * WIDTH)
        self.mlp_proj = torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        heads = *x.shape[:2], HEADS, WIDTH // HEADS
        parts = self.c_attn(self.ln_1(x)).split(WIDTH, -1)
        q, k, v = (part.view(heads).transpose(1, 2) for part in parts)
        attend = torch.nn.functional.scaled_dot_product_attention
        h = attend(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        x = x + self.attn_proj(h)
        h = torch.nn.functional.gelu(self.c_fc(self.ln_2(x)))
        return x + self.mlp_proj(h)


class TorchGPT(torch.nn.Module):
    """First built, then drawn again: N(0, 0.02²), and less for the projections."""

    def __init__(self):
        super().__init__()
        self.wte = torch.nn.Embedding(WORDS, WIDTH)
        self.wpe = torch.nn.Embedding(LENGTH, WIDTH)
        self.h = torch.nn.ModuleList(TorchBlock() for _ in range(DEPTH))
        self.ln_f = torch.nn.LayerNorm(WIDTH)
        self.lm_head = torch.nn.Linear(WIDTH, WORDS, bias=False)
        self.wte.weight = self.lm_head.weight
        self.apply(self.draw)
        for name, parameter in self.named_parameters():
            if name.endswith("_proj.weight"):
                torch.nn.init.normal_(parameter, std=0.02 / (2 * DEPTH) ** 0.5)

    def draw(self, module):
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, torch.nn.Linear) and module.bias is not None:
            torch.nn.init.zeros_(module.bias)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(LENGTH))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


BUILD = {"MLP": torch_mlp, "LeNet": torch_lenet, "ViT": TorchViT, "GPT": TorchGPT}


def losses_of(model, x, labels):
    x, labels = torch.tensor(x), torch.tensor(labels)
    x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    outputs, losses = model(x).detach(), []
    for _ in range(STEPS):
        logits = model(x)
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, -2), labels.flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return outputs.numpy(), losses


def golden():
    """The whole of torch_ports.json, as the dictionary that reading it gives."""
    record = {"torch": torch.__version__.split("+")[0]}
    for name, build in BUILD.items():
        *_, x, labels = MODELS[name]
        torch.manual_seed(SEED)
        model, after = build(), torch.empty(4).uniform_().tolist()
        outputs, losses = losses_of(model, x, labels)
        entry = {"after": after, "outputs": outputs.tolist(), "losses": losses}
        record[name] = entry
    return record


if __name__ == "__main__":
    PATH.write_text(json.dumps(golden(), indent=1) + "\n")
