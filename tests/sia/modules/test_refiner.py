"""The refiner sees the person's crop, and answers in the cells of the heatmaps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sia.modules.refiner import PlaceEmbedding, RoIRefiner
from sia.modules.roi_keypoint_head import RoIKeypointHead, RoIs

K, WIDTH, TOKEN, DIM, PEOPLE = 3, 8, 20, 32, 2
SIZE = (96, 64)
ROWS, COLUMNS = 24, 16


def make_refiner(finer: int = 1, zero: bool = False) -> RoIRefiner:
    """One that does something, unless it is to be new."""
    torch.manual_seed(0)
    refiner = RoIRefiner(TOKEN, WIDTH, DIM, K, layers=2, finer=finer)
    if not zero:
        nn.init.normal_(refiner.kernel.weight)
        nn.init.normal_(refiner.score[2].weight)
    return refiner


def inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "tokens": torch.randn(PEOPLE, TOKEN),
        "fine": torch.randn(PEOPLE, WIDTH, ROWS, COLUMNS),
        "deep": torch.randn(PEOPLE, 2 * WIDTH, ROWS // 4, COLUMNS // 4),
        "places": torch.rand(PEOPLE, K, 2),
        "confidences": torch.randn(PEOPLE, K),
    }


@pytest.mark.parametrize("finer", [1, 2])
def test_a_new_refiner_changes_nothing(finer: int):
    heat, score = make_refiner(finer, zero=True)(**inputs())
    assert heat.shape == (PEOPLE, K, finer * ROWS, finer * COLUMNS) and score.shape == (PEOPLE,)
    assert not heat.any() and not score.any()


def test_the_answer_is_in_the_cells_of_the_heatmaps():
    """A feature in one cell, and a kernel that tells the finer cells within it apart."""
    refiner, given = make_refiner(finer=2, zero=True), inputs()
    refiner.features = nn.Sequential(nn.Identity())
    bias = torch.zeros(4, WIDTH)
    bias[:, 5] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with torch.no_grad():
        refiner.kernel.bias.copy_(bias.flatten())
    given["fine"] = torch.zeros(PEOPLE, WIDTH, ROWS, COLUMNS)
    given["fine"][1, 5, 7, 3] = WIDTH**0.5
    heat, _ = refiner(**given)
    expected = torch.zeros(PEOPLE, K, 2 * ROWS, 2 * COLUMNS)
    expected[1, :, 14:16, 6:8] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(heat, expected)


@pytest.mark.parametrize("part", ["tokens", "fine", "deep", "places", "confidences"])
def test_everything_that_it_is_told_matters_and_each_person_is_alone(part: str):
    refiner, given = make_refiner(), inputs()
    before, score = refiner(**given)
    given[part] = given[part].clone()
    given[part][1] += 0.3
    after, other = refiner(**given)
    assert not torch.allclose(before[1], after[1], atol=1e-4) and not torch.isclose(score[1], other[1], atol=1e-6)
    torch.testing.assert_close(before[0], after[0])
    torch.testing.assert_close(score[0], other[0])


def test_a_query_reads_the_features_under_its_keypoint():
    """Where the crop is the same everywhere but in one cell, only the keypoint there asks another question."""
    refiner, given = make_refiner(), inputs()
    seen: list[torch.Tensor] = []
    refiner.under.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0]))
    given["fine"] = torch.zeros(PEOPLE, WIDTH, ROWS, COLUMNS)
    given["fine"][0, 2, 7, 3] = 5.0
    given["places"] = torch.tensor([[3.5 / COLUMNS, 7.5 / ROWS], [7.5 / COLUMNS, 3.5 / ROWS], [2.0, -1.0]]).repeat(
        2, 1, 1
    )
    refiner(**given)
    expected = torch.zeros(PEOPLE, K, WIDTH)
    expected[0, 0, 2] = 5.0
    torch.testing.assert_close(seen[0], expected)


def test_no_gradient_reaches_what_the_head_found():
    given = {name: value.requires_grad_() for name, value in inputs().items()}
    heat, score = make_refiner()(**given)
    (heat.square().sum() + score.sum()).backward()  # type: ignore[no-untyped-call]
    assert given["places"].grad is None and given["confidences"].grad is None
    assert all(given[part].grad is not None for part in ("tokens", "fine", "deep"))


def test_places_of_neighbouring_cells_differ():
    torch.manual_seed(0)
    cells = torch.linspace(-1, 1, 97)
    embedded = PlaceEmbedding(DIM)(torch.stack([cells, torch.zeros(97)], -1))
    distance = torch.cdist(embedded, embedded) + 10 * torch.eye(97)
    assert distance.min() > 0.05


def test_the_head_looks_again_after_the_refiner():
    """Heatmaps, places, confidences and scores are those with its change; a new one leaves all as it was."""
    torch.manual_seed(0)
    head = RoIKeypointHead(TOKEN, torch.full((K,), 0.05), WIDTH, SIZE).eval()
    rois = RoIs(torch.zeros(2).long(), torch.arange(2), torch.full((2, 2), 0.5), torch.tensor([[0.4, 0.6]] * 2))
    given = torch.rand(2, 3, *SIZE), torch.randn(2, TOKEN), torch.zeros(2), rois
    alone = head.read(*given)
    head.add_refiner(DIM, layers=1)
    assert head.refiner is not None
    new = head.read(*given)
    torch.testing.assert_close(new.poses, alone.poses)
    torch.testing.assert_close(new.scores, alone.scores)
    change = torch.zeros(2, K, ROWS, COLUMNS)
    change[:, :, 20, 4] = 50.0
    head.refiner.forward = lambda *_: (change, torch.tensor([1.0, -1.0]))  # type: ignore[method-assign]
    moved = head.read(*given)
    assert moved.heatmaps.grid[:, :, 20, 4].exp().min() > 0.9
    expected = torch.tensor([0.3 + 0.4 * 4.5 / COLUMNS, 0.2 + 0.6 * 20.5 / ROWS]).expand(2, K, 2)
    torch.testing.assert_close(moved.poses, expected, atol=0.6 / ROWS, rtol=0)
    assert (moved.confidences > alone.confidences).all()
    torch.testing.assert_close(moved.scores, alone.scores + torch.tensor([1.0, -1.0]))
