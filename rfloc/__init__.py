"""RF localization on streets where nobody measured: the library behind the book.

Data flows one way through the package; each room imports only rooms named before it::

    errors, files, config, schema, frames, backend -> city -> stations -> splits -> simulation -> datasets
    -> calibration -> crops -> localizers -> training -> evaluation -> studies -> figures -> pipeline

Importing :mod:`rfloc` is cheap: Sionna RT, torch and Lightning are imported where they are used.
"""

__version__ = "0.1.0"
