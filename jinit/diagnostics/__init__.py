"""Diagnostics: what a model's initialization is, and what it does to a signal."""

from jinit.audit._audit import audit as audit
from jinit.audit._checkpoints import read_checkpoint as read_checkpoint
from jinit.audit._report import Finding as Finding
from jinit.audit._report import Leaf as Leaf
from jinit.audit._report import Report as Report
from jinit.audit._statistics import Statistics as Statistics
from jinit.diagnostics import plots as plots
from jinit.signal._coordinates import CoordinateCheck as CoordinateCheck
from jinit.signal._coordinates import coordinate_check as coordinate_check
from jinit.signal._propagation import Propagation as Propagation
from jinit.signal._propagation import propagation as propagation
