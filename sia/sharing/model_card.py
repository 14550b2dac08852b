"""The README.md of a model on the hub: what it is, what it has seen, how good it is, and what it is not for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from sia.sharing.hub import hub_library

NOT_STATED = "Not stated by its owner."

LIMITS = """\
- Measure it on images of your own before you rely on it: a model does worse on what its data lacks.
- A score says how well a pose is placed, a confidence the same of a keypoint; neither is a probability.
- Not for safety, health, or judgements about people."""


def model_card(repository: str, file: str, sha256: str, facts: Mapping[str, Any], args: argparse.Namespace) -> str:
    """The text of README.md, with a header that the hub reads.

    Args:
        repository: ``owner/name``.
        file: of the weights there.
        sha256: of that file.
        facts: what `read_facts` says of the weights.
        args: ``license`` as the hub spells it; ``data`` it was trained on and its ``accuracy`` in the owner's words;
            each may be None.
    """
    training = facts["training"] if isinstance(facts["training"], dict) else {}
    measured = {key.removeprefix("metrics."): value for key, value in training.items() if key.startswith("metrics.")}
    card = hub_library("A model card").ModelCardData(
        license=args.license, library_name="sia-pose", pipeline_tag="keypoint-detection", tags=["pose-estimation"]
    )
    what = "\n".join(
        f"| {name} | {facts[name]} |" for name in ("model", "size", "backbone", "parameters", "input", "keypoints")
    )
    numbers = "\n".join(f"| {name} | {value:.4g} |" for name, value in measured.items())
    accuracy = f"As its training measured it on its validation images:\n\n| | |\n|-|-:|\n{numbers}"
    return f"""---
{card.to_yaml()}
---

# {repository.partition("/")[2]}

Finds people and their keypoints in images and videos, with SIA Pose.

```bash
sia predict photo.jpg --weight_path hf:{repository}
```

```python
import sia

people = sia.load("hf:{repository}")("photo.jpg")
people.save("out.jpg")
```

| | |
|-|-|
{what}
| file | `{file}`, sha256 `{sha256}` |

## Data

{args.data or NOT_STATED}

## Accuracy

{args.accuracy or (accuracy if numbers else NOT_STATED)}

## Licence

{args.license or NOT_STATED}

## Limits

{LIMITS}
"""
