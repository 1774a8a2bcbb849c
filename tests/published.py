"""Libraries of published models, where torchvision's operators need no GPU."""

import os
from unittest import mock

import pytest

if os.environ.get("JINIT_REQUIRE_PEERS") != "1":
    for package in ("torch", "torchvision", "timm", "transformers"):
        pytest.importorskip(package)

import torch as torch
import transformers as transformers

with mock.patch("torch.library.register_fake", return_value=lambda f: f):
    import torchvision as torchvision

import timm as timm
