"""Looks through an annotation file and its images for everything that harms a training or an evaluation."""

from datasets.validation.checks import CHECKS, Check, Severity
from datasets.validation.report_data import ValidationReport, validate

__all__ = ["CHECKS", "Check", "Severity", "ValidationReport", "validate"]
