"""What a model is: its configuration, its tensors by name, its tokenizer and chat template."""
