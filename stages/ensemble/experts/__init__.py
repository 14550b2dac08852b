"""Pose estimators of other people behind one interface: boxes of people in, COCO's 17 keypoints out."""
