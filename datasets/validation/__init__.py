"""Looks through an annotation file and its pictures for everything that harms a training or an evaluation."""

from datasets.validation.finding import CHECKS, Check, Finding, Severity
from datasets.validation.inspection import Inspection, inspect

__all__ = ["CHECKS", "Check", "Finding", "Inspection", "Severity", "inspect"]
