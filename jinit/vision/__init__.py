"""Vision: kernels of upsampling and transforms, position tables, biases of priors."""

from jinit.vision._positions import sinusoidal as sinusoidal
from jinit.vision._priors import class_prior_bias as class_prior_bias
from jinit.vision._priors import prior_bias as prior_bias
from jinit.vision._transforms import dct as dct
from jinit.vision._transforms import stft as stft
from jinit.vision._upsampling import bilinear as bilinear
from jinit.vision._upsampling import icnr as icnr
