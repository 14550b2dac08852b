"""Training of the RoI keypoint head alone, on cached crops of the people whom a trained model finds."""
