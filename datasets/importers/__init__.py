"""Labels of other programs as COCO keypoint json: one file a format."""

from datasets.importers.coco_writer import CocoWriter
from datasets.importers.cvat import import_cvat
from datasets.importers.labelme import import_labelme
from datasets.importers.yolo import import_yolo

__all__ = ["CocoWriter", "import_cvat", "import_labelme", "import_yolo"]
