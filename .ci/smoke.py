"""What an installed jinit does where only its dependencies are: `.ci/smoke.py`."""

import importlib.metadata
import importlib.resources

import flax.linen as nn
import jax
import jax.numpy as jnp

import jinit

assert importlib.metadata.version("jinit") == jinit.__version__
assert importlib.resources.files(jinit).joinpath("py.typed").is_file()

key, x = jax.random.key(0), jnp.ones((1, 8))
model = nn.Sequential([nn.Dense(64, kernel_init=jinit.orthogonal()), nn.Dense(4)])
params = jinit.jit_init(model.init)(key, x)
rules = {"**/kernel": jinit.he_normal(gain=nn.silu), "**/bias": jinit.zeros()}
plan = jinit.plan(params, rules)
assert jinit.Plan.from_json(plan.to_json(), params) == plan
assert jinit.diagnostics.audit(plan.init(key), plan).findings == ()
assert jinit.diagnostics.audit(params, plan).exit_status == 1

stream = jinit.torch.manual_seed(42)
assert f"{stream.uniform_((1,))[0]:.6f}" == "0.882269"  # torch.rand(1)
init = jinit.stack(jinit.normal())
assert jinit.deserialize(jinit.serialize(init)) == init
print("jinit", jinit.__version__)
