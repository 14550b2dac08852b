"""What can be said of a person found in a picture: measured facts, sentences made of them, and a check of sentences."""
