"""What passes models on: the Hugging Face hub, and a page to try them on."""
