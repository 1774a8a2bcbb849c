"""Diagnostics: what a model's initialization is, and what it does to a signal."""

from jinit.diagnostics import plots as plots
from jinit.diagnostics._audit import audit as audit
from jinit.diagnostics._checkpoints import read_checkpoint as read_checkpoint
from jinit.diagnostics._coordinates import CoordinateCheck as CoordinateCheck
from jinit.diagnostics._coordinates import coordinate_check as coordinate_check
from jinit.diagnostics._propagation import Propagation as Propagation
from jinit.diagnostics._propagation import propagation as propagation
from jinit.diagnostics._report import Finding as Finding
from jinit.diagnostics._report import Leaf as Leaf
from jinit.diagnostics._report import Report as Report
