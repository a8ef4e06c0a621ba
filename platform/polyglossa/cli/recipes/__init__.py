"""Commands about recipes: propose, check, document, and show their steps."""
