"""Tokens: a conversation becomes ids and picture tiles, and ids become a reply. No tensors of the model, no tools, no users."""
