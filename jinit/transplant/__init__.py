"""Transplants: weights made of the weights of another model.

Pure functions of arrays, and of trees with the roles that `jinit.roles` reads. What is
computed is computed in float32 (float64) and rounded once; what is only moved keeps its
bits.
"""

from jinit.transplant._growth import Grown as Grown
from jinit.transplant._growth import Growth as Growth
from jinit.transplant._growth import deepen as deepen
from jinit.transplant._growth import widen as widen
from jinit.transplant._heads import group_heads as group_heads
from jinit.transplant._images import inflate as inflate
from jinit.transplant._images import resize_positions as resize_positions
from jinit.transplant._selection import select as select
from jinit.transplant._vocabulary import extend_vocabulary as extend_vocabulary
