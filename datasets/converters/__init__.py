"""Labels of other programs as COCO keypoint json: one file a format."""

from datasets.converters.coco_writer import CocoWriter
from datasets.converters.cvat import import_cvat
from datasets.converters.label_studio import import_label_studio
from datasets.converters.labelme import import_labelme
from datasets.converters.yolo import import_yolo

__all__ = ["CocoWriter", "import_cvat", "import_label_studio", "import_labelme", "import_yolo"]
