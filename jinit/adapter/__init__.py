"""Adapters: low-rank pairs that are added to kernels.

    W + scale · A B,    A of shape (inputs, rank),    B of shape (rank, outputs)

Kernels may have any axes, named as in `jinit.fans`. A is the kernel of a layer from the
inputs to `rank` features, B of one from these to the outputs, in the layout of W: for
the kernel (3, 3, in, out) of a convolution a kernel (3, 3, in, rank) and one of
(1, 1, rank, out), for (d, heads, k) the shapes (d, rank) and (rank, heads, k).
"""

from jinit.adapter._lora import Pair as Pair
from jinit.adapter._lora import kernel_axes as kernel_axes
from jinit.adapter._lora import lora as lora
from jinit.adapter._lora import merge as merge
from jinit.adapter._split import Split as Split
from jinit.adapter._split import milora as milora
from jinit.adapter._split import olora as olora
from jinit.adapter._split import pissa as pissa
