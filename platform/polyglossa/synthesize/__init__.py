"""Have a language model write pairs for languages that have none: questions for passages, translations of pairs."""
