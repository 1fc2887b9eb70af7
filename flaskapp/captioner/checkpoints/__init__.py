"""Where models come from: the hub, a folder or the package -> model, tokenizer and preprocessing."""
