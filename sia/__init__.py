"""SIA Pose: finds people and their keypoints in images and videos.

```python
import sia

model = sia.load()
people = model("photo.jpg")
people.save("out.jpg")
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sia.errors import ConfigError, DataError, DownloadError, OutputError, SiaError, WeightsError
    from sia.estimator import PoseEstimator, load
    from sia.formats.door import save_results
    from sia.people import People, Person

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DataError",
    "DownloadError",
    "OutputError",
    "People",
    "Person",
    "PoseEstimator",
    "SiaError",
    "WeightsError",
    "__version__",
    "load",
    "save_results",
]

_MODULES = {
    "PoseEstimator": "sia.estimator",
    "load": "sia.estimator",
    "People": "sia.people",
    "Person": "sia.people",
    "save_results": "sia.formats.door",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then: torch and OpenCV take seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'sia' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES.get(name, "sia.errors")), name)


def __dir__() -> list[str]:
    return [*__all__]
