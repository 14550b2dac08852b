"""What can be said of a person found in an image: measured facts, sentences made of them, and a check of sentences."""
