"""State-space models: HiPPO, S4D, S5, LRU, RG-LRU and Mamba.

`docs/recurrent.md` has what each of these models starts from, leaf by leaf.
"""

# Matrices and eigenvalues.
from jinit.ssm._hippo import dplr as dplr, hippo as hippo
from jinit.ssm._eigenvalues import eigenvalues as eigenvalues
from jinit.ssm._eigenbasis import s5_input as s5_input, s5_output as s5_output

# Time steps, and how long a state lasts.
from jinit.ssm._steps import a_log as a_log, dt_bias as dt_bias, log_step as log_step
from jinit.ssm._rings import (
    lru_gamma as lru_gamma,
    lru_nu as lru_nu,
    lru_theta as lru_theta,
    rg_lru as rg_lru,
)
