"""Synthetic people: articulated bodies in rendered scenes, with exact keypoints and visibility flags."""

from datasets.synthetic.dataset import write_dataset
from datasets.synthetic.scene.scene import Scene, SyntheticPerson, SyntheticScenes

__all__ = ["Scene", "SyntheticPerson", "SyntheticScenes", "write_dataset"]
