"""Logits and their inverse; a regression finds the rule, and its ridge keeps it from finding one in nothing."""

from __future__ import annotations

import numpy as np

from stages.error_model.logistic import logistic, logit, regress


def test_logits_and_back() -> None:
    shares = np.array([0.0, 0.001, 0.3, 0.5, 0.999, 1.0])
    np.testing.assert_allclose(logistic(logit(shares)), shares.clip(0.001, 0.999))
    assert np.isfinite(logistic(np.array([-1e9, 1e9]))).all()


def test_a_rule_is_found_beside_what_is_given() -> None:
    rng = np.random.default_rng(0)
    table = np.c_[np.ones(4000), rng.standard_normal((4000, 2))]
    start = rng.standard_normal(4000)
    wanted = rng.random(4000) < logistic(start + table @ [0.5, -1.0, 0.0])
    weights = regress(table, wanted.astype(np.float64), np.zeros(3), start)
    np.testing.assert_allclose(weights, [0.5, -1.0, 0.0], atol=0.12)
    assert abs(regress(table, wanted.astype(np.float64), np.full(3, 1e7), start)).max() < 1e-3
