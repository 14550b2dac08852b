"""Logits and their inverse; a regression finds the rule, and its ridge keeps it from finding one in nothing."""

from __future__ import annotations

import numpy as np

from stages.error_model.statistics import LogisticRegression, logistic, logit, nearest_correlation, regress


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


def test_features_of_any_scale_are_used_and_plain_ones_stay() -> None:
    rng = np.random.default_rng(1)
    features, start = np.c_[np.ones(3000), 500 + 90 * rng.standard_normal(3000)], np.zeros(3000)
    wanted = logistic(0.3 - (features[:, 1] - 500) / 90)
    fitted = LogisticRegression.fit(features, wanted, np.array([0.0, 1e-3]), start, plain=[0])
    assert (fitted.mean[0], fitted.deviation[0]) == (0.0, 1.0)
    np.testing.assert_allclose(fitted(start, features), wanted, atol=0.01)


def test_what_is_no_correlation_becomes_one() -> None:
    impossible = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    mended = nearest_correlation(impossible, 0.05)
    np.testing.assert_allclose(np.diag(mended), 1.0)
    assert np.linalg.eigvalsh(mended).min() > 0 and np.linalg.eigvalsh(impossible).min() < 0
