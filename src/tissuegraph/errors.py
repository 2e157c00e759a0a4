"""The exceptions a user can meet.

Every message is one sentence that names what was found, what was expected and what to do next.
The command line prints it and ends with status 2; anything else is our fault and ends with status 1.
"""

from __future__ import annotations


class TissuegraphError(Exception):
    """Something that the user can mend; the base of all the others."""


class InputError(TissuegraphError):
    """A file or a value given by the user is missing, broken or not what it should be."""


class OutputError(TissuegraphError):
    """The result cannot be written: the folder exists, is not writable or the disk is full."""


class MachineError(TissuegraphError):
    """The machine lacks what was asked for: an accelerator, devices, memory."""


class ModelError(TissuegraphError):
    """A model does not fit the data or the parameters: panel, size, format."""
