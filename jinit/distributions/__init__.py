"""Distributions: of any law, through links, and initializers as terms."""

from jinit.distributions._families import beta as beta
from jinit.distributions._families import exponential as exponential
from jinit.distributions._families import gamma as gamma
from jinit.distributions._families import log_normal as log_normal
from jinit.distributions._families import log_uniform as log_uniform
from jinit.distributions._families import student_t as student_t
from jinit.distributions._families import weibull as weibull
from jinit.distributions._mixture import mixture as mixture
from jinit.distributions._quantile import inverse_transform as inverse_transform
from jinit.distributions._terms import affine as affine
from jinit.distributions._terms import clip as clip
from jinit.distributions._through import through as through
