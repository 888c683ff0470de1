"""The engine on Hugging Face transformers: rows that share prompts on a CPU, padded batches on a GPU."""
