"""Every error steppe raises on purpose.

SteppeError
├── InputError (ValueError)            the caller can fix it
│   ├── ShapeError                     a tensor of the wrong shape
│   ├── DtypeError                     model and data differ in dtype, or the dtype is not floating
│   ├── DeviceError                    model and data live on different devices
│   ├── DataError                      empty, non-finite or degenerate data
│   ├── ParameterError                 a number or choice out of range
│   ├── UnknownNameError               no such study, axis, column, part, choice
│   └── NotDeterministicError          a model whose loss differs between two evaluations
├── KindError (TypeError)              the wrong kind of object, or an unknown keyword
└── ComputationError (RuntimeError)    something failed while computing
    ├── NotComputedError               a result that does not exist, with the reason
    └── StoreError                     the folder of a study
        ├── StoreBusyError             another process writes to it
        └── CorruptStoreError          a file that is damaged or not ours
"""


class SteppeError(Exception):
    """Root of all errors that steppe raises on purpose."""


class InputError(SteppeError, ValueError):
    """The caller gave a value that cannot be used."""


class ShapeError(InputError):
    """A tensor has the wrong shape."""


class DtypeError(InputError):
    """Model and data differ in dtype, or a dtype is not a floating one."""


class DeviceError(InputError):
    """Model and data live on different devices."""


class DataError(InputError):
    """Data are empty, not finite or too few."""


class ParameterError(InputError):
    """A number or choice is out of range."""


class UnknownNameError(InputError):
    """A name (study, axis, column, part, choice) is not known."""


class NotDeterministicError(InputError):
    """Two evaluations of the same model on the same data differ."""


class KindError(SteppeError, TypeError):
    """An argument is the wrong kind of object, or a keyword is not known."""


class ComputationError(SteppeError, RuntimeError):
    """Something failed while computing."""


class NotComputedError(ComputationError):
    """A result does not exist; the message says why."""


class StoreError(ComputationError):
    """The folder of a study cannot be used."""


class StoreBusyError(StoreError):
    """Another process writes to this folder."""


class CorruptStoreError(StoreError):
    """A file in the folder is damaged or was not written by steppe."""
