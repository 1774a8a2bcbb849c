"""Diagnostics: what a model's initialization is, and what it does to a signal."""

from jinit.diagnostics._audit import audit as audit
from jinit.diagnostics._report import Finding as Finding
from jinit.diagnostics._report import Leaf as Leaf
from jinit.diagnostics._report import Report as Report
