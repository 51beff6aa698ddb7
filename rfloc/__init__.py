"""RF localization on streets where nobody measured: the library behind the book.

Data flows one way through the package; each room imports only rooms named before it::

    errors, files, config, schema, frames, backend -> city -> stations -> splits -> simulation -> datasets
    -> calibration -> crops -> localizers -> training -> evaluation -> studies -> figures -> pipeline

Importing :mod:`rfloc` is cheap: Sionna RT, torch and Lightning are imported where they are used.
"""

import os

# Threads that wait for work sleep, so that a neighbour on the machine costs his share: read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Threads of OpenBLAS wait for each other in small factorizations, and sums depend on their number; kernels inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
