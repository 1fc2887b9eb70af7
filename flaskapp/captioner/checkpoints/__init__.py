"""Find and load checkpoints, from the hub, a folder or the package: model, tokenizer and preprocessing."""
