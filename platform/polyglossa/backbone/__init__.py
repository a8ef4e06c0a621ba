"""Stage `backbone`: the model and tokenizer that a member starts from, new or loaded by name."""
