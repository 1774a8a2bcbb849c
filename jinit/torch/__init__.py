"""PyTorch ports: torch's own random stream, weight for weight, without torch."""

from jinit.torch import functional as functional
from jinit.torch._stream import Stream as Stream
from jinit.torch._stream import manual_seed as manual_seed
