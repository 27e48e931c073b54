"""How gradients flow, vanish and explode in a recurrent layer: exactly, and for the very layer you train.

adjoints                dL/dh_t and dL/dc_t, whole and immediate, and dL/d(pre-activation) of every gate
gate_ledger             dL/dh_{t-1} as the sum of what each gate sends
lag_ledger              the gradient of every parameter by lag between use and loss, and by step of use
path_split              the cell-state highway against all that goes through h
step_jacobians          J_t = ds_t/ds_{t-1} at every step
jacobian_product        J_t ... J_{k+1} = ds_t/ds_k; product_spectrum: its singular values
directional_gain        how an adjoint grows or shrinks from step t back to k; omega: Pascanu's regulariser of it
lyapunov_spectrum       the rates at which small changes of the state grow
lyapunov_growth         the same step by step, from given Jacobians
gate_values             the activated gates; gate_statistics: how saturated they are, how long each unit remembers
memory_time             how many steps back the gradient reaches; signal_to_noise: its mean over its spread in a batch
subnormal_census        where adjoints have left the dtype's normal range
hessian_vector_product  H v for the loss's Hessian H; sharpness: its largest eigenvalues
rtrl                    the gradient in forward mode
problems, seam          a trained model split into its layers, and the gradient across an encoder-decoder
Recorder                gradient flow over training, in a file
plots                   figures of these
"""

from .. import initializers
from . import plots
from .adjoints import Adjoints, adjoints
from .forward_mode import rtrl
from .jacobians import (
    Omega,
    ProductSpectrum,
    directional_gain,
    jacobian_product,
    omega,
    product_spectrum,
    step_jacobians,
)
from .ledgers import GateLedger, LagLedger, gate_ledger, lag_ledger
from .lyapunov import lyapunov_growth, lyapunov_spectrum
from .paths import PathSplit, path_split
from .problems import Problem, problems
from .recorder import Recorder
from .seam import Seam, seam
from .second_order import Sharpness, hessian_vector_product, sharpness
from .statistics import (
    GateStatistics,
    MemoryTime,
    SignalToNoise,
    SubnormalCensus,
    gate_statistics,
    gate_values,
    memory_time,
    signal_to_noise,
    subnormal_census,
)

__all__ = [
    "Adjoints",
    "GateLedger",
    "GateStatistics",
    "LagLedger",
    "MemoryTime",
    "Omega",
    "PathSplit",
    "Problem",
    "ProductSpectrum",
    "Recorder",
    "Seam",
    "Sharpness",
    "SignalToNoise",
    "SubnormalCensus",
    "adjoints",
    "directional_gain",
    "gate_ledger",
    "gate_statistics",
    "gate_values",
    "hessian_vector_product",
    "initializers",
    "jacobian_product",
    "lag_ledger",
    "lyapunov_growth",
    "lyapunov_spectrum",
    "memory_time",
    "omega",
    "path_split",
    "plots",
    "problems",
    "product_spectrum",
    "rtrl",
    "seam",
    "sharpness",
    "signal_to_noise",
    "step_jacobians",
    "subnormal_census",
]
