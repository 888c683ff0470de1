"""Checkpoints on the Hugging Face Hub and in its local cache: downloading, prefetching, and a limit for the disk."""

from personascope.engines.hub.download import list_lineage as list_lineage
