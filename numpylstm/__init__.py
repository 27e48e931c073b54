"""numpylstm: recurrent networks one can read, differentiate by hand and train fast on a CPU, on NumPy and Numba."""

__version__ = "0.1.0"
