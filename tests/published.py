"""The peers, and libraries of published models, whose operators need no GPU."""

import os
from importlib.util import find_spec
from unittest import mock

import pytest

PACKAGES = "equinox", "haiku", "mup", "torch", "torchvision", "timm", "transformers"
if os.environ.get("JINIT_REQUIRE_PEERS") != "1" and not all(map(find_spec, PACKAGES)):
    pytest.skip("needs published models", allow_module_level=True)

import equinox as equinox
import haiku as haiku
import torch as torch
import transformers as transformers

with mock.patch("torch.library.register_fake", return_value=lambda f: f):
    import mup as mup
    import torchvision as torchvision

import timm as timm
