"""Who may see what, for which purpose: written in YAML, checked against the models, compiled for every plane."""

from vaultstore.policy.access import KeyAccess, PurposeKeys
from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.check import Report, check
from vaultstore.policy.diff import PolicyDiff, diff
from vaultstore.policy.finding import Finding
from vaultstore.policy.lattice import Excess, excess, lattice, row_cells, vault_cells
from vaultstore.policy.lock import Lock, LockChange, write_lock
from vaultstore.policy.locked import catalogue_in
from vaultstore.policy.matrix import Cell, Explanation, explain, matrix
from vaultstore.policy.model import Category, Limit, ModelRead, Never, PolicyTest, Purpose, Requirements, Service
from vaultstore.policy.policy import Policy
from vaultstore.policy.remarks import Remark
from vaultstore.policy.rights import Decision

__all__ = [
    "BoundPolicy",
    "Category",
    "Cell",
    "Decision",
    "Excess",
    "Explanation",
    "Finding",
    "KeyAccess",
    "Limit",
    "Lock",
    "LockChange",
    "ModelRead",
    "Never",
    "Policy",
    "PolicyDiff",
    "PolicyTest",
    "Purpose",
    "PurposeKeys",
    "Remark",
    "Report",
    "Requirements",
    "Service",
    "catalogue_in",
    "check",
    "diff",
    "excess",
    "explain",
    "lattice",
    "matrix",
    "row_cells",
    "vault_cells",
    "write_lock",
]
