"""PyTorch ports: torch's layer defaults, and its random stream, without torch.

What is named after a layer returns the keyword arguments that give Flax's layer its
initializers; a size that is less than 1 is a ValueError.
"""

from jinit.torch import functional as functional
from jinit.torch._defaults import batch_norm as batch_norm
from jinit.torch._defaults import bilinear as bilinear
from jinit.torch._defaults import conv as conv
from jinit.torch._defaults import conv_transpose as conv_transpose
from jinit.torch._defaults import embedding as embedding
from jinit.torch._defaults import group_norm as group_norm
from jinit.torch._defaults import gru as gru
from jinit.torch._defaults import layer_norm as layer_norm
from jinit.torch._defaults import linear as linear
from jinit.torch._defaults import lstm as lstm
from jinit.torch._defaults import multihead_attention as multihead_attention
from jinit.torch._defaults import rnn as rnn
from jinit.torch._defaults import transformer_decoder_layer as transformer_decoder_layer
from jinit.torch._defaults import transformer_encoder_layer as transformer_encoder_layer
from jinit.torch._defaults import triangular as triangular
from jinit.torch._defaults import zero_row as zero_row
from jinit.torch._like import like as like
from jinit.torch._rules import default_rules as default_rules
from jinit.torch._stream import Stream as Stream
from jinit.torch._stream import manual_seed as manual_seed
from jinit.torch._stream import to_nnx as to_nnx
